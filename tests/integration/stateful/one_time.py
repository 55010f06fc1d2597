"""One-time passwords, SMS commands and what an office begins, as the mission's rows say them (M5, M6, M18). The oracle's
other half.

Asking changes nothing. Using one takes the permanent password and every session away, lifts a block, and leads no further
than to the choice of another; what was proposed by SMS may be confirmed instead, by its own one-time password alone.
"""

from dataclasses import dataclass
from typing import Literal

from tests.integration.stateful.oracle import (
    CODE_DEAD,
    GRANT_INVALID,
    OK,
    ONE_TIME,
    PASSWORD_LIFETIME_S,
    TRIES,
    Answer,
    Code,
    Flow,
    OneTime,
    Oracle,
    against_policy,
    code_rejected,
)

Way = Literal["site", "handset", "office"]
# What is typed says which of them it is.
LENGTHS: dict[Way, int] = {"site": 8, "handset": 10, "office": 12}
PROPOSAL_REJECTED = Answer("UNAUTHENTICATED", "PROPOSAL_REJECTED")
UNKNOWN = Answer("NOT_FOUND", "SUBSCRIBER_UNKNOWN")
HELP_EVERY_S = 86_400
REFUSALS_A_DAY = 5
GRANT_LIFETIME_S = 86_400


@dataclass(frozen=True)
class Effect:
    """What comes of a text: whether a one-time password is sent, and what the account's history says of it."""

    sent: bool = False
    told: tuple[str, ...] = ()


NOTHING = Effect()


class OneTimePasswords:
    """Methods that are named like calls return what is due."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle

    def request(self, e164: str) -> Answer:
        return self._oracle.numbers[e164].budget.ask(ONE_TIME, self._oracle.now)

    def word(self, e164: str) -> Effect:
        """Nobody is there to answer to a number that nobody has."""
        number = self._oracle.numbers[e164]
        return Effect(sent=number.known and number.handset.ask("word", self._oracle.now) == OK)

    def proposal(self, e164: str, password: str) -> Effect:
        number = self._oracle.numbers[e164]
        if not number.known:
            return NOTHING
        if against_policy(password):
            if len([at for at in number.refused if self._oracle.now - at < HELP_EVERY_S]) >= REFUSALS_A_DAY:
                return NOTHING
            number.refused.append(self._oracle.now)
            return Effect(told=("PasswordProposalRefused",))
        sent = number.handset.ask("proposal", self._oracle.now) == OK
        return Effect(sent=True, told=("PasswordProposed",)) if sent else NOTHING

    def other_text(self, e164: str) -> Effect:
        number, now = self._oracle.numbers[e164], self._oracle.now
        if not number.known or (number.helped is not None and now - number.helped < HELP_EVERY_S):
            return NOTHING
        number.helped = now
        return Effect(told=("SmsCommandNotUnderstood",))

    def at_office(self, identifier: str, how: str) -> Answer:
        """Staff may know who is a subscriber. how: "on_file" or "slip"."""
        number = self._oracle.numbers[identifier]
        return number.office.ask(how, self._oracle.now) if number.known else UNKNOWN

    def sent(self, e164: str, way: Way, text: str | None, proposed: str | None = None) -> Code:
        """It takes the place of the older one of the same way; of the site's each stays good by its grant."""
        number = self._oracle.numbers[e164]
        if way in number.one_time and way != "site":
            number.one_time[way].code.open = False
        code = self._oracle.new_code(Code(text, LENGTHS[way], self._oracle.now, PASSWORD_LIFETIME_S))
        budget = {"site": number.budget, "handset": number.handset, "office": number.office}[way]
        number.one_time[way] = OneTime(code, number.stands, budget, proposed)
        return code

    def use(self, e164: str, way: Way, text: str) -> Answer:
        """Without a grant."""
        one = self._oracle.numbers[e164].one_time.get(way)
        if one is None:
            return CODE_DEAD
        return self._done(e164, one, self._without_grant(one, text) if way == "site" else self._checked(one, text))

    def use_by_grant(self, e164: str, one: OneTime, text: str) -> Answer:
        """One of the site's, that was asked for with the same number."""
        if one.used or self._oracle.now - one.code.born >= GRANT_LIFETIME_S:
            return GRANT_INVALID
        return self._done(e164, one, self._checked(one, text))

    def _checked(self, one: OneTime, text: str) -> Answer:
        return self._oracle.check(one.budget, one.code, text)

    def _without_grant(self, one: OneTime, text: str) -> Answer:
        """It takes none of the tries of whoever has it."""
        if one.others == TRIES:
            return CODE_DEAD
        own = one.code.tries
        answer = self._checked(one, text)
        one.others += one.code.tries - own
        one.code.tries = own
        return code_rejected(TRIES - one.others) if answer.reason == "CODE_REJECTED" else answer

    def _done(self, e164: str, one: OneTime, answer: Answer) -> Answer:
        number = self._oracle.numbers[e164]
        if answer != OK:
            return answer
        if one.found != number.stands:
            return CODE_DEAD  # another password or contact has been set since, and the right guess is used up
        one.used = True
        self._oracle.set_password(number, None, keep=None)
        return OK

    def used(self, e164: str, one: OneTime, grant: str) -> Flow:
        number = self._oracle.numbers[e164]
        proposed = one.proposed
        flow = Flow(ONE_TIME, number, number.budget, self._oracle.now, number.stands, grant, [], "password", proposed)
        self._oracle.flows.append(flow)
        return flow

    def proposed(self, grant: str) -> str | None:
        """What whoever proposed it types."""
        flow = self._oracle.find(ONE_TIME, "password", grant)
        return flow and flow.proposed

    def confirm_proposed(self, grant: str, password: str) -> Answer:
        """One guess."""
        flow = self._oracle.find(ONE_TIME, "password", grant)
        if flow is None or flow.proposed is None:
            return GRANT_INVALID
        proposed, flow.proposed = flow.proposed, None
        return self._oracle.set_by(flow, password) if password == proposed else PROPOSAL_REJECTED
