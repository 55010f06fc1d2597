"""The machine: calls in any order, with whatever is at hand, each answer held against the oracle's.

A new call joins as a rule: ask the oracle, call, `_expect`. One-time passwords and SMS commands join in `handsets.py`,
contacts and account numbers in `customers.py`.
"""

import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from zasov.otp.v1 import otp_service_pb2 as otp_pb

from services.auth.sessions import encode_token
from tests.integration.stateful import calls, oracle
from tests.integration.stateful.calls import Channel
from tests.integration.stateful.oracle import BAD_PASSWORDS, GOOD_PASSWORDS, ONE_TIME, Answer, Code, Flow, Guard, Number, Oracle
from tests.integration.stateful.world import Challenge, World, flow_id_of

KINDS = ("Registration", "Recovery")
# Purposes of otp whose codes look alike: another form is refused before anything is looked up.
OF_THE_SAME_FORM = {1: 2, 2: 1, 4: 5, 5: 4, 6: 2}
WRONG_PASSWORD = "Ne-tot-parol-0"
A_DAY = oracle.BUDGET_WINDOW_S // oracle.TICK_S

new_passwords = st.one_of(st.sampled_from(GOOD_PASSWORDS), st.sampled_from(GOOD_PASSWORDS), st.sampled_from([*BAD_PASSWORDS]))


# Which of the two numbers; and which of the grants and tokens given out so far, newest first: of the live ones, or of all.
numbers = st.integers(0, 1)
which = st.tuples(st.sampled_from(["live", "live", "any"]), st.integers(0, 5))
Which = tuple[str, int]
# Under the name of its own flow, or of the other one.
swapped = st.sampled_from([False, False, True])
under = st.sampled_from(["its own"] * 6 + [*KINDS, ONE_TIME])


@dataclass(frozen=True)
class Given:
    """A grant, as a call of this kind gave it out."""

    kind: str
    grant: str = field(repr=False)


@dataclass
class Met:
    """What a run has come across. It outlives the examples."""

    examples: int = 0
    calls: int = 0
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)


class Subscribers(RuleBasedStateMachine):
    """Two numbers, nobody's at first, and whatever is done with them."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__()
        self.world, self.met = world, met
        self.e164s = [world.new_number() for _ in range(2)]
        self.oracle = Oracle(*self.e164s)
        # Each begins with one of the right shape that nobody was ever given.
        self.grants = [Given("Recovery", forged_token(ids=1))]
        self.tokens = [forged_token(ids=2)]
        self.accounts: dict[str, str] = {}
        self.session_ids: dict[str, str] = {}
        self.challenges: dict[int, Challenge] = {}
        self.stream_lags = False
        self.steps = 0
        world.restore_clock()

    @initialize(stream_lags=st.booleans(), known=st.sampled_from([True, True, False]))
    def begin(self, stream_lags: bool, known: bool) -> None:
        self.stream_lags = stream_lags
        if known:
            self._go_through("Registration", self.e164s[0], GOOD_PASSWORDS[0])

    # --- guesses at a permanent password

    @rule(number=numbers, password=st.sampled_from(["right", *GOOD_PASSWORDS, WRONG_PASSWORD]))
    def sign_in(self, number: int, password: str) -> None:
        e164 = self.e164s[number]
        right = self.oracle.numbers[e164].password or WRONG_PASSWORD
        self._sign_in(e164, right if password == "right" else password)

    @rule(number=numbers)
    def sign_in_wrongly_until_refused(self, number: int) -> None:
        for _ in range(oracle.STRIKES + 1):
            self._sign_in(self.e164s[number], WRONG_PASSWORD)

    @rule()
    def sign_in_as_nobody_until_refused(self) -> None:
        nobodys = self._nobodys()
        for _ in range(oracle.STRIKES + 1):
            self._sign_in(nobodys, WRONG_PASSWORD)

    @rule(number=numbers, times=st.integers(1, oracle.STRIKES - 1))
    def sign_in_rightly_after_mistakes(self, number: int, times: int) -> None:
        e164 = self.e164s[number]
        for _ in range(times):
            self._sign_in(e164, WRONG_PASSWORD)
        self._sign_in(e164, self.oracle.numbers[e164].password or WRONG_PASSWORD)

    @rule(number=numbers, times=st.integers(1, oracle.STRIKES - 1), more=st.integers(1, oracle.STRIKES + 1), lags=st.booleans())
    def make_mistakes_again_after_a_right_one(self, number: int, times: int, more: int, lags: bool) -> None:
        """lags: the first ones are still being settled when the right one comes, and are forgiven too."""
        self._let_in(number)
        with self._stream(lags):
            self.sign_in_rightly_after_mistakes(number, times)
            for _ in range(more):
                self._sign_in(self.e164s[number], WRONG_PASSWORD)

    @rule(which=which, old=st.sampled_from(["right", WRONG_PASSWORD, *GOOD_PASSWORDS]), new=new_passwords)
    def change_password(self, which: Which, old: str, new: str) -> None:
        token = self._a_token(which)
        session = self.oracle.sessions.get(token)
        right = (session and session.number.password) or WRONG_PASSWORD
        self._change(token, right if old == "right" else old, new)

    @rule(number=numbers, new=st.sampled_from(GOOD_PASSWORDS))
    def change_password_with_another_session(self, number: int, new: str) -> None:
        self._let_in(number)
        for _ in range(2):
            self.sign_in(number, "right")
        self.change_password(("live", 0), "right", new)

    @rule(number=numbers)
    def introspect_a_day_after_signing_in(self, number: int) -> None:
        self._let_in(number)
        self.sign_in(number, "right")
        self._pass(oracle.SESSION_LIFETIME_S // oracle.TICK_S)
        self.introspect(("any", 0))

    @rule(which=which)
    def introspect(self, which: Which) -> None:
        token = self._a_token(which)
        live = self.oracle.is_live(token)
        assert self.world.introspect(token) == live, f"introspect: active is not {live}"
        self._step("introspect", oracle.OK)

    # --- codes and grants, step by step

    @rule(kind=st.sampled_from(KINDS), number=numbers)
    def start(self, kind: str, number: int) -> None:
        self._start(kind, self.e164s[number])

    @rule(which=which, swapped=swapped, patiently=st.booleans())
    def send_again(self, which: Which, swapped: bool, patiently: bool) -> None:
        if patiently:
            self._pass(1)
        given = self._a_grant("code", which)
        self._send_again(_kind(given, swapped), given)

    @rule(which=which, swapped=swapped, code=st.sampled_from(["right", "right", "wrong", "older", "elsewhere"]))
    def confirm(self, which: Which, swapped: bool, code: str) -> None:
        given = self._a_grant("code", which)
        self._confirm(_kind(given, swapped), given, code)

    @rule(which=which)
    def confirm_wrongly_until_refused(self, which: Which) -> None:
        given = self._a_grant("code", which)
        for _ in range(oracle.TRIES + 1):
            self._confirm(_kind(given, swapped=False), given, "wrong")

    @rule(stage=st.sampled_from(["password", "password", "code"]), which=which, under=under, password=new_passwords)
    def choose(self, stage: str, which: Which, under: str, password: str) -> None:
        given = self._a_grant(stage, which)
        # A change of the email ends with no password: its grant is tried for one of a recovery.
        own = given.kind if given.kind in (*KINDS, ONE_TIME) else "Recovery"
        self._choose(own if under == "its own" else under, given, password)

    # --- whole flows, after any cool-down, so that what comes after them is reached often

    @rule(kind=st.sampled_from(KINDS), number=numbers, password=st.one_of(st.none(), new_passwords))
    def go_through(self, kind: str, number: int, password: str | None) -> None:
        """None: only as far as the password."""
        self._pass(1)
        self._go_through(kind, self.e164s[number], password)

    @rule(kind=st.sampled_from(KINDS), number=numbers)
    def ask_again_too_soon(self, kind: str, number: int) -> None:
        self._wait_for_codes(self.e164s[number], 2)
        given = self._start(kind, self.e164s[number])
        self._start(kind, self.e164s[number])
        if given:
            self._send_again(kind, given)

    @rule(kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(KINDS)), number=numbers)
    def go_through_two_side_by_side(self, kinds: tuple[str, str], number: int) -> None:
        proven = []
        for kind in kinds:
            self._wait_for_codes(self.e164s[number])
            proven.append(self._prove(kind, self.e164s[number]))
        for given, password in zip(proven, GOOD_PASSWORDS, strict=False):
            if given:
                self._choose(given.kind, given, password)

    @rule(number=numbers)
    def guess_at_other_codes_first(self, number: int) -> None:
        """So often that the first one is too short by then (B4)."""
        e164 = self.e164s[number]
        self._wait_for_codes(e164, 3)
        short, other = self._start("Recovery", e164), self._start("Registration", e164)
        for _ in range(oracle.TRIES):
            if other:
                self._confirm("Registration", other, "wrong")
        self._pass(1)
        longer = self._start("Registration", e164)
        if longer:
            self._confirm("Registration", longer, "wrong")
        if short:
            self._confirm("Recovery", short, "right")

    # --- otp itself, asked by somebody who mixes things up

    @rule(kind=st.sampled_from(KINDS), number=numbers, which=st.integers(0, 5))
    def verify_past_auth(self, kind: str, number: int, which: int) -> None:
        """The right code, bound to something else; or rightly bound, but used up, superseded, out of tries or expired."""
        e164 = self.e164s[number]
        self._wait_for_codes(e164)
        given = self._start(kind, e164)
        for code in self._newest_and_another(which, open_ones=True):
            for other in ("flow", "subject", "purpose"):
                self._verify(code, other)
        if given:
            self._confirm(kind, given, "right")
        for code in self._newest_and_another(which, open_ones=False):
            self._verify(code, "none of it")

    # --- time

    @rule(ticks=st.sampled_from([1, 1, 1, 3, 8, 720]))
    def time_passes(self, ticks: int) -> None:
        self._pass(ticks)
        self._step("time_passes", oracle.OK)

    @precondition(lambda self: self.stream_lags)
    @rule()
    def the_stream_catches_up(self) -> None:
        self.oracle.hear()
        self.world.play_stream()

    # --- at the end, from the stores' own contents

    def teardown(self) -> None:
        self.met.examples += self.steps > 0
        self.oracle.hear()
        self.world.play_stream()
        for number in self.oracle.numbers.values():
            guard, account_id = number.guard, self.accounts.get(number.e164)
            expected = (guard.strikes, guard.strikes == oracle.STRIKES, 0)
            assert self.world.guard_in_store(number.e164, account_id) == expected, f"not in the store: {expected}"
            if account_id:
                live = {self.session_ids[token] for token, session in self.oracle.sessions.items()
                        if session.number is number and self.oracle.is_live(token)}  # fmt: skip
                assert self.world.live_sessions_in_store(account_id) == live, "live sessions in the store"
        for code in self.oracle.codes:
            tries, state = self.world.tries_in_store(self.challenges[id(code)].challenge_id)
            assert tries == code.tries, f"tries in the store: {tries} for {code.tries}"
            assert (state == "open") <= (code.open and code.tries < oracle.TRIES), "open in the store"

    # --- what the rules are made of

    def _a_token(self, which: Which) -> str:
        live = [token for token in self.tokens if self.oracle.is_live(token)]
        return _pick(live, self.tokens, which)

    def _a_grant(self, stage: str, which: Which) -> Given:
        live = [one for one in self.grants if self.oracle.find(one.kind, stage, one.grant)]
        return _pick(live, self.grants, which)

    def _sign_in(self, e164: str, password: str) -> None:
        """Or by what else leads to the account; so are `_start` and all that is said of it."""
        due = self.oracle.sign_in(e164, password)
        answer, session = self.world.call(calls.sign_in(self.world.auth, e164, password))
        self._expect("sign_in", due, answer)
        if session:
            self._signed_in(e164, session)

    def _change(self, token: str, old: str, new: str) -> None:
        due = self.oracle.change(token, old, new)
        answer, _ = self.world.call(self.world.auth.change(token, old, new))
        self._expect("change", due, answer)

    def _start(self, kind: str, e164: str, channel: Channel = None) -> Given | None:
        due = self.oracle.start(kind, e164)
        answer, sent = self.world.call(calls.start(self.world.auth, kind, e164, channel))
        self._expect("start", due, answer)
        return self._sent(self.oracle.started(kind, e164, sent.grant, channel == "email"), sent) if sent else None

    def _send_again(self, kind: str, given: Given, channel: Channel = None) -> Given | None:
        due = self.oracle.send_again(kind, given.grant)
        answer, sent = self.world.call(calls.send_again(self.world.auth, kind, given.grant, channel))
        self._expect("send_again", due, answer)
        flow = self._flow_of(given)
        if not (flow and sent):
            return None
        flow.by_email = channel == "email" if channel else flow.by_email
        return self._sent(flow, sent)

    def _sent(self, flow: Flow, sent: Any) -> Given:
        self.oracle.moved_on(flow, "code", sent.grant)
        text = self.world.code_of(sent.grant, flow.to, self._language_of(flow)) if flow.to else None
        due = self.oracle.code_sent(flow, text)
        self.challenges[id(flow.codes[-1])] = self.world.challenge_of(sent.grant)
        assert due == sent.digits == len(text or "0" * due), "the code's length"
        return self._given(flow.kind, sent.grant)

    def _language_of(self, flow: Flow) -> str:
        return "ru"

    def _confirm(self, kind: str, given: Given, code: str) -> Given | None:
        flow = self._flow_of(given)
        text = self._text(flow, code) if flow and flow.codes else "0000"
        due = self.oracle.confirm(kind, given.grant, text)
        answer, grant = self.world.call(self.world.auth.flow(kind).confirm(given.grant, text))
        self._expect("confirm", due, answer)
        if flow is None or grant is None:
            return None
        self.oracle.moved_on(flow, "password", grant)
        return self._given(kind, grant)

    def _text(self, flow: Flow, which: str) -> str:
        """A code to enter; where there is none of the kind asked for, a wrong one."""
        newest = flow.codes[-1]
        elsewhere = [other.codes[-1] for other in self.oracle.flows if other is not flow and other.codes]
        found: list[Code] = {"right": [newest], "older": flow.codes[:-1], "elsewhere": elsewhere}.get(which, [])
        texts = [code.text for code in found if code.text is not None]
        return texts[-1] if texts else _another(newest)

    def _choose(self, kind: str, given: Given, password: str) -> None:
        due = self.oracle.choose(kind, given.grant, password)
        auth = self.world.auth
        choose = auth.choose_permanent if kind == ONE_TIME else auth.flow(kind).choose
        answer, session = self.world.call(choose(given.grant, password))
        self._expect("choose_permanent" if kind == ONE_TIME else "choose", due, answer)
        flow = self._flow_of(given)
        if flow and session:
            self.accounts.setdefault(flow.number.e164, session.account_id)
            self._signed_in(flow.number.e164, session)

    def _newest_and_another(self, which: int, open_ones: bool) -> list[Code]:
        every = [code for code in self.oracle.codes if code.text is not None and self.oracle.is_open(code) == open_ones]
        return [every[-1], every[-1 - which % len(every)]] if every else []

    def _verify(self, code: Code, other: str) -> None:
        """other: what it is bound to instead."""
        of = self.challenges[id(code)]
        request = otp_pb.VerifyRequest(
            challenge_id=of.challenge_id, subject_id=of.subject_id, flow_id=of.flow_id, purpose=of.purpose, code=code.text
        )
        match other:
            case "flow":
                request.flow_id = of.challenge_id
            case "subject":
                request.subject_id = of.challenge_id
            case "purpose":
                if of.purpose not in OF_THE_SAME_FORM:
                    return
                request.purpose = OF_THE_SAME_FORM[of.purpose]
        assert self.world.verify(request).outcome == otp_pb.VERIFY_OUTCOME_DEAD, f"verify: good for another {other}"
        self._step("verify_past_auth", oracle.OK)

    def _prove(self, kind: str, e164: str) -> Given | None:
        sent = self._start(kind, e164)
        return self._confirm(kind, sent, "right") if sent else None

    def _go_through(self, kind: str, e164: str, password: str | None) -> None:
        proven = self._prove(kind, e164)
        if proven and password:
            self._choose(kind, proven, password)

    def _given(self, kind: str, grant: str) -> Given:
        self.grants.append(Given(kind, grant))
        return self.grants[-1]

    def _signed_in(self, e164: str, session: Any) -> None:
        assert session.account_id == self.accounts[e164], "a number has one account"
        self.session_ids[session.token] = session.session_id
        self.oracle.signed_in(e164, session.token)
        self.tokens.append(session.token)

    def _flow_of(self, given: Given) -> Flow | None:
        """None: nobody was ever given this grant."""
        return next((flow for flow in self.oracle.flows if flow_id_of(flow.grant) == flow_id_of(given.grant)), None)

    def _nobodys(self) -> str:
        """A number that nobody has, and nothing was asked of."""
        e164 = self.world.new_number()
        self.oracle.numbers[e164] = Number(e164)
        return e164

    def _let_in(self, number: int) -> None:
        """Whoever has the number, or will; what was counted at the password counts no more."""
        known = self.oracle.numbers[self.e164s[number]]
        if known.password is None or known.guard != Guard():
            self._wait_for_codes(known.e164)
            self._go_through("Registration", known.e164, GOOD_PASSWORDS[0])

    def _wait_for_codes(self, e164: str, codes: int = 1) -> None:
        """A little; but a day, if so many could not be asked for then in every way."""
        number, soon = self.oracle.numbers[e164], self.oracle.now + oracle.TICK_S
        budgets = deepcopy([number.budget, number.handset, number.office])
        enough = all(budget.ask(str(i), soon) == oracle.OK for budget in budgets for i in range(codes))
        self._pass(1 if enough else A_DAY)

    @contextmanager
    def _stream(self, lags: bool) -> Iterator[None]:
        """Lets it lag, or not, for a while."""
        before, self.stream_lags = self.stream_lags, lags
        try:
            yield
        finally:
            self.stream_lags = before
        if not before:
            self.oracle.hear()
            self.world.play_stream()

    def _pass(self, ticks: int) -> None:
        self.oracle.advance(ticks)
        self.world.advance(ticks)

    def _expect(self, call: str, due: Answer, answer: Answer) -> None:
        assert due.agrees(answer), f"{call}: {due} was due, {answer} came"
        if not self.stream_lags:
            self.oracle.hear()
            self.world.play_stream()
        self._step(call, answer)

    def _step(self, call: str, answer: Answer) -> None:
        self.steps += 1
        self.met.calls += 1
        self.met.answers[call, answer.reason or answer.code] += 1


T = TypeVar("T")


def _pick(live: Sequence[T], every: Sequence[T], which: Which) -> T:
    how, back = which
    some = live if how == "live" and live else every
    return some[-1 - back % len(some)]


def _kind(given: Given, swapped: bool) -> str:
    """Of the two that have codes."""
    own = KINDS.index(given.kind) if given.kind in KINDS else 0
    return KINDS[1 - own if swapped else own]


def forged_token(ids: int) -> str:
    """Of the right shape, and nobody's."""
    return encode_token(*(uuid4() for _ in range(ids)), secrets.token_bytes(32))


def _another(code: Code) -> str:
    """Of the same length, and wrong."""
    return f"{(int(code.text or '0') + 1) % 10**code.digits:0{code.digits}d}"
