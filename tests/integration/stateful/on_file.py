"""What is on file, as the mission's rows say it: other identifiers and a choice of contact (M12), the email (M11). The
oracle's third part.

What else leads to an account is another name of the same `Number`; while it leads to nobody, it is a `Number` of its own.
"""

from dataclasses import dataclass

from tests.integration.stateful.oracle import GRANT_INVALID, NOBODY, OK, SESSION_INVALID, Answer, Flow, Number, Oracle

EMAIL_CHANGE = "EmailChange"
# A grant for one code, before any.
SHOWN = "contacts"

TAKEN = Answer("FAILED_PRECONDITION", "IDENTIFIER_TAKEN")
NOT_OFFERED = Answer("INVALID_ARGUMENT", "INVALID_REQUEST")

Contacts = list[tuple[str, str]]


@dataclass
class Shown(Flow):
    """offered: the channels of what was shown."""

    offered: tuple[str, ...] = ()


@dataclass
class EmailChange(Flow):
    """email: that is to be on file."""

    email: str = ""

    @property
    def to(self) -> str:
        return self.email


class OnFile:
    """Methods that are named like calls return the answer that is due, and remember what follows from it."""

    def __init__(self, oracle: Oracle, *account_numbers: str) -> None:
        self._oracle = oracle
        oracle.numbers |= {text: Number(text) for text in account_numbers}

    def put(self, e164: str, account_number: str, email: str) -> Answer:
        """Links what is missing, and never replaces what is on file."""
        numbers = self._oracle.numbers
        known = [one for one in (numbers[e164], numbers[account_number]) if one.known]
        if len(known) == 2 and known[0] is not known[1]:
            return TAKEN
        owner = known[0] if known else numbers[e164]
        differing = [*["phone"] * (owner.e164 != e164), *["email"] * bool(email and owner.email and email != owner.email)]
        if differing:
            return Answer("FAILED_PRECONDITION", "CONTACT_ON_FILE", (("fields", ",".join(differing)),))
        if not known:
            owner.begin()
            owner.version = 1
        owner.email = owner.email or email
        numbers[account_number] = owner
        return OK

    def contacts(self, identifier: str) -> Contacts | None:
        """As they are to be shown; None: made up, of one form."""
        number = self._oracle.numbers[identifier]
        if not number.known:
            return None
        return [("phone", f"***{number.e164[-2:]}"), *[("email", f"{number.email[0]}***@***") for _ in [0] if number.email]]

    def shown(self, identifier: str, grant: str, offered: tuple[str, ...]) -> None:
        number, now = self._oracle.numbers[identifier], self._oracle.now
        flow = Shown("Recovery", number, number.budget, now, number.stands, grant, [], SHOWN, offered=offered)
        self._oracle.flows.append(flow)

    def send_code(self, grant: str, channel: str) -> Answer:
        """One for a grant, whether it is sent or refused; but asking for what was not offered costs nothing."""
        flow = self._oracle.find("Recovery", SHOWN, grant)
        if flow is None:
            return GRANT_INVALID
        assert isinstance(flow, Shown)
        if channel not in flow.offered:
            return NOT_OFFERED
        flow.stage = "done"
        return flow.budget.ask("Recovery", self._oracle.now)

    def code_sent(self, shown: Flow, grant: str, by_email: bool) -> Flow:
        """A recovery like any other."""
        found = NOBODY if shown.found == NOBODY else shown.number.stands
        flow = Flow("Recovery", shown.number, shown.budget, self._oracle.now, found, grant, [], by_email=by_email)
        self._oracle.flows.append(flow)
        return flow

    def start_email_change(self, token: str, password: str) -> Answer:
        if not self._oracle.is_live(token):
            return SESSION_INVALID
        number = self._oracle.sessions[token].number
        answer = number.guard.guess(number.password == password)
        return number.budget.ask(EMAIL_CHANGE, self._oracle.now) if answer == OK else answer

    def email_change_started(self, token: str, grant: str, email: str) -> Flow:
        number, now = self._oracle.sessions[token].number, self._oracle.now
        flow = EmailChange(EMAIL_CHANGE, number, number.budget, now, number.stands, grant, [], email=email)
        self._oracle.flows.append(flow)
        return flow

    def confirm_email_change(self, token: str, grant: str, text: str) -> Answer:
        if not self._oracle.is_live(token):
            return SESSION_INVALID
        flow = self._oracle.find(EMAIL_CHANGE, "code", grant)
        if flow is None or flow.number is not self._oracle.sessions[token].number or flow.found != flow.number.stands:
            return GRANT_INVALID
        assert isinstance(flow, EmailChange)
        answer = self._oracle.check(flow.budget, flow.codes[-1], text)
        if answer == OK:
            flow.stage, flow.number.email = "done", flow.email
        return answer
