"""The machine's third part: account numbers that lead to the accounts too, contacts to choose from (M12), the email (M11)."""

from typing import Literal

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from tests.integration.stateful import calls, oracle
from tests.integration.stateful.calls import Channel
from tests.integration.stateful.handsets import Handsets, patiently
from tests.integration.stateful.machine import A_DAY, KINDS, WRONG_PASSWORD, Given, Met, Which, new_passwords, numbers, which
from tests.integration.stateful.on_file import SHOWN, Contacts, OnFile
from tests.integration.stateful.oracle import GOOD_PASSWORDS
from tests.integration.stateful.world import World

By = Literal["phone", "account number"]
EMAILS = ("vera@example.com", "pyotr@example.org")

CHANNELS: tuple[Channel, ...] = ("email", "phone")

bys = st.sampled_from(["phone", "account number"])
channels = st.sampled_from(["phone", "email"])
any_channel = st.sampled_from([None, "phone", "email", "email"])
emails = st.sampled_from(EMAILS)


class Customers(Handsets):
    """The same two numbers, and an account number for each, nobody's at first."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__(world, met)
        self.account_numbers = [world.new_account_number() for _ in self.e164s]
        self.on_file = OnFile(self.oracle, *self.account_numbers)
        self.made_up: dict[str, Contacts] = {}

    @initialize(email=st.sampled_from([None, "", EMAILS[0]]))
    def know_a_customer(self, email: str | None) -> None:
        """None: the operator's systems don't."""
        if email is not None:
            self._put(self.e164s[0], self.account_numbers[0], email)

    # --- step by step

    @rule(number=numbers, crossed=st.sampled_from([False, False, False, True]), email=st.sampled_from(["", *EMAILS]))
    def put_subscriber(self, number: int, crossed: bool, email: str) -> None:
        """crossed: with the other one's account number."""
        self._put(self.e164s[number], self.account_numbers[number ^ crossed], email)

    @rule(number=numbers, password=st.sampled_from(["right", "right", WRONG_PASSWORD]))
    def sign_in_by_account_number(self, number: int, password: str) -> None:
        identifier = self.account_numbers[number]
        right = self.oracle.numbers[identifier].password or WRONG_PASSWORD
        self._sign_in(identifier, right if password == "right" else password)

    @rule(number=numbers, by=bys, channel=any_channel, patiently=patiently)
    def start_recovery_to(self, number: int, by: By, channel: Channel, patiently: bool) -> None:
        self._wait_if(patiently)
        self._start("Recovery", self._identifier(number, by), channel)

    @rule(which=which, channel=any_channel)
    def send_again_to(self, which: Which, channel: Channel) -> None:
        self._pass(1)
        self._send_again("Recovery", self._a_grant("code", which), channel)

    @rule(number=numbers, by=bys)
    def list_contacts(self, number: int, by: By) -> None:
        self._list_contacts(self._identifier(number, by))

    @rule(stage=st.sampled_from([SHOWN, SHOWN, SHOWN, "code", "password"]), which=which, channel=channels)
    def send_code(self, stage: str, which: Which, channel: Channel) -> None:
        self._send_code(self._a_grant(stage, which), channel)

    @rule(which=which, password=st.sampled_from(["right", "right", WRONG_PASSWORD]), email=emails, patiently=patiently)
    def start_email_change(self, which: Which, password: str, email: str, patiently: bool) -> None:
        self._wait_if(patiently)
        token = self._a_token(which)
        session = self.oracle.sessions.get(token)
        right = (session and session.number.password) or WRONG_PASSWORD
        self._start_email_change(token, right if password == "right" else password, email)

    @rule(session=which, which=which, code=st.sampled_from(["right", "right", "wrong", "elsewhere"]))
    def confirm_email_change(self, session: Which, which: Which, code: str) -> None:
        self._confirm_email_change(self._a_token(session), self._a_grant("code", which), code)

    # --- from end to end, so that what comes after is reached often

    @rule(number=numbers)
    def guess_by_turns(self, number: int) -> None:
        """One guard, whatever leads to the account and whatever the guess is for; another one for whom nobody is."""
        e164, identifier = self.e164s[number], self.account_numbers[number]
        self._let_in(number)
        self._put(e164, identifier, "")
        self._sign_in(e164, self.oracle.numbers[e164].password or WRONG_PASSWORD)
        token = self._a_token(("live", 0))
        self._sign_in(identifier, WRONG_PASSWORD)
        self._start_email_change(token, WRONG_PASSWORD, EMAILS[0])
        for one in (e164, identifier, e164):
            self._sign_in(one, WRONG_PASSWORD)

    @rule(number=numbers, by=bys, channel=any_channel, then=st.sampled_from([None, "phone", "email"]), password=new_passwords)
    def recover_to(self, number: int, by: By, channel: Channel, then: Channel, password: str) -> None:
        """then: where another code is sent to before one is entered."""
        self._wait_for_codes(self.e164s[number], 2)
        given = self._start("Recovery", self._identifier(number, by), channel)
        if given and then:
            self._pass(1)
            given = self._send_again("Recovery", given, then)
        self._finish(given, password)

    @rule(number=numbers, known=st.booleans(), by=bys, channel=channels, twice=st.booleans(), password=new_passwords)
    def recover_by_choice(self, number: int, known: bool, by: By, channel: Channel, twice: bool, password: str) -> None:
        """Whoever has but one contact asks for the other one in vain. known: to the operator's systems, if not before. twice:
        with the grant that is used up.
        """
        self._wait_for_codes(self.e164s[number], 2)
        if known:
            self._put(self.e164s[number], self.account_numbers[number], "")
        shown = self._list_contacts(self._identifier(number, by))
        sent = self._send_code(shown, channel) or self._send_code(shown, "phone")
        if twice:
            self._pass(1)
            self._send_code(shown, "phone")
        self._finish(sent, password)

    @rule(number=numbers)
    def put_another_email(self, number: int) -> None:
        for email in EMAILS:
            self._put(self.e164s[number], self.account_numbers[number], email)

    @rule(number=numbers)
    def choose_the_email_first(self, number: int) -> None:
        """Who has none on file is not offered it, asks in vain, and can still choose the phone."""
        self._pass(A_DAY)
        self._put(self.e164s[number], self.account_numbers[number], "")
        shown = self._list_contacts(self.account_numbers[number])
        for channel in CHANNELS:
            self._send_code(shown, channel)

    @rule(number=numbers, by=bys, password=new_passwords)
    def skip_steps_with_the_grant_for_a_code(self, number: int, by: By, password: str) -> None:
        """And with the one for a confirmation the other way round. Neither is used up by it."""
        self._wait_for_codes(self.e164s[number], 2)
        identifier = self._identifier(number, by)
        shown, started = self._list_contacts(identifier), self._start("Recovery", identifier)
        self._pass(1)
        for kind in KINDS:
            self._choose(kind, shown, password)
        self._confirm("Recovery", shown, "right")
        self._send_again("Recovery", shown)
        if started:
            self._send_code(started, "phone")
        self._send_code(shown, "phone")

    @rule(number=numbers, email=emails)
    def change_email(self, number: int, email: str) -> None:
        self._let_in(number)
        self._wait_for_codes(self.e164s[number])
        self._change_email(number, email)

    @rule(number=numbers, email=emails)
    def change_email_with_the_other_ones_session(self, number: int, email: str) -> None:
        self._pass(A_DAY)
        for one in (number ^ 1, number):
            self._go_through("Registration", self.e164s[one], GOOD_PASSWORDS[one])
        others, own = self.tokens[-2:]
        given = self._start_email_change(own, self._right(number), email)
        if given:
            self._confirm_email_change(others, given, "right")
            self._confirm_email_change(own, given, "right")

    @rule(
        number=numbers,
        begun=st.sampled_from([*KINDS, "by choice", "one-time", "email"]),
        how=st.sampled_from(["by its owner", "by its owner", "by the operator"]),
        email=emails,
    )
    def change_email_amid(self, number: int, begun: str, how: str, email: str) -> None:
        """What was begun before is void."""
        e164, other = self.e164s[number], EMAILS[email == EMAILS[0]]
        self._let_in(number)
        self._pass(A_DAY)
        given = None
        match begun:
            case "one-time":
                self._request(e164)
            case "email":
                given = self._start_email_change(self._begin_session(number), self._right(number), other)
                self._pass(1)
            case "by choice":
                given = self._send_code(self._list_contacts(e164), "phone")
            case _:
                given = self._prove(begun, e164)
        if how == "by the operator":
            self._put(e164, self.account_numbers[number], email)
        else:
            self._change_email(number, email)
        if begun == "one-time":
            self._use(e164, "site", "right")
        elif begun == "email" and given:
            self._confirm_email_change(self.tokens[-1], given, "right")
        elif begun == "by choice":
            self._finish(given, GOOD_PASSWORDS[2])
        elif given:
            self._choose(given.kind, given, GOOD_PASSWORDS[2])

    @rule(number=numbers, guess=st.sampled_from(["right", "right", "wrong"]), asks=bys, uses=bys)
    def get_in_by_one_time_and_account_number(self, number: int, guess: str, asks: By, uses: By) -> None:
        self._pass(1)
        self._request(self._identifier(number, asks))
        self._use(self._identifier(number, uses), "site", guess)

    # --- what the rules are made of

    def _identifier(self, number: int, by: By) -> str:
        return self.e164s[number] if by == "phone" else self.account_numbers[number]

    def _right(self, number: int) -> str:
        return self.oracle.numbers[self.e164s[number]].password or WRONG_PASSWORD

    def _put(self, e164: str, account_number: str, email: str) -> None:
        due = self.on_file.put(e164, account_number, email)
        answer, account_id = self.world.call(calls.put(self.world.auth, e164, account_number, email))
        self._expect("put_subscriber", due, answer)
        if account_id:
            assert self.accounts.setdefault(e164, account_id) == account_id, "a number has one account"
            self.accounts[account_number] = account_id

    def _list_contacts(self, identifier: str) -> Given:
        answer, listed = self.world.call(calls.list_contacts(self.world.auth, identifier))
        self._expect("list_contacts", oracle.OK, answer)
        assert listed
        return self._listed(identifier, *listed)

    def _listed(self, identifier: str, grant: str, shown: Contacts) -> Given:
        due = self.on_file.contacts(identifier)
        if due is None:
            due = self.made_up.setdefault(identifier, shown)
            assert [channel for channel, _ in shown] == ["phone", "email"], "what is made up looks like what is on file"
        assert shown == due, f"list_contacts: {due} were due, {shown} came"
        self.on_file.shown(identifier, grant, tuple(channel for channel, _ in due))
        return self._given("Recovery", grant)

    def _send_code(self, given: Given, channel: Channel) -> Given | None:
        assert channel
        shown = self._flow_of(given)
        due = self.on_file.send_code(given.grant, channel)
        answer, sent = self.world.call(calls.send_code(self.world.auth, given.grant, channel))
        self._expect("send_code", due, answer)
        if not (shown and sent):
            return None
        return self._sent(self.on_file.code_sent(shown, sent.grant, channel == "email"), sent)

    def _finish(self, given: Given | None, password: str) -> None:
        proven = self._confirm("Recovery", given, "right") if given else None
        if proven:
            self._choose("Recovery", proven, password)

    def _begin_session(self, number: int) -> str:
        """Its token; where there is none to be had, an older one."""
        self._sign_in(self.e164s[number], self._right(number))
        return self.tokens[-1]

    def _change_email(self, number: int, email: str) -> None:
        token = self._begin_session(number)
        given = self._start_email_change(token, self._right(number), email)
        if given:
            self._confirm_email_change(token, given, "right")

    def _start_email_change(self, token: str, password: str, email: str) -> Given | None:
        due = self.on_file.start_email_change(token, password)
        answer, sent = self.world.call(calls.start_email_change(self.world.auth, token, password, email))
        self._expect("start_email_change", due, answer)
        return self._sent(self.on_file.email_change_started(token, sent.grant, email), sent) if sent else None

    def _confirm_email_change(self, token: str, given: Given, code: str) -> None:
        flow = self._flow_of(given)
        text = self._text(flow, code) if flow and flow.codes else "0000"
        due = self.on_file.confirm_email_change(token, given.grant, text)
        answer, _ = self.world.call(calls.confirm_email_change(self.world.auth, token, given.grant, text))
        self._expect("confirm_email_change", due, answer)
