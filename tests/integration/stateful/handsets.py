"""The machine's other half: one-time passwords of the site (M5), and what is texted from the handset (M6)."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.integration.stateful import calls, oracle
from tests.integration.stateful.machine import Given, Met, Subscribers, Which, new_passwords, numbers, which
from tests.integration.stateful.one_time import LENGTHS, Effect, OneTimePasswords, Way
from tests.integration.stateful.oracle import GOOD_PASSWORDS, ONE_TIME, Code, Number, OneTime
from tests.integration.stateful.world import Challenge, World

_WORDS = ("ПАРОЛЬ", " parol ")
_NOT_UNDERSTOOD = "Парол?"
_WORDS_NUMBER, _PROPOSALS_NUMBER = "3339", "111"

ways = st.sampled_from(["site", "handset"])
guesses = st.sampled_from(["right", "right", "wrong", "older", "of another number"])
patiently = st.sampled_from([True, True, False])


@dataclass(frozen=True)
class Asked:
    """A one-time password of the site. e164: as it was typed, and whose number that was."""

    e164: str
    number: Number
    one: OneTime
    grant: str


class Handsets(Subscribers):
    """The same two numbers, with handsets."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__(world, met)
        self.one_time = OneTimePasswords(self.oracle)
        self.sent: defaultdict[tuple[str, Way], list[Code]] = defaultdict(list)
        self.asked: list[Asked] = []

    # --- step by step

    @rule(number=numbers, patiently=patiently)
    def request_one_time(self, number: int, patiently: bool) -> None:
        self._wait_if(patiently)
        self._request(self.e164s[number])

    @rule(number=numbers, word=st.sampled_from(_WORDS), patiently=patiently)
    def text_the_word(self, number: int, word: str, patiently: bool) -> None:
        self._wait_if(patiently)
        self._text_the_word(self.e164s[number], word)

    @rule(number=numbers, password=new_passwords, patiently=patiently)
    def text_a_proposal(self, number: int, password: str, patiently: bool) -> None:
        self._wait_if(patiently)
        self._propose(self.e164s[number], password)

    @rule(number=numbers, to=st.sampled_from([_WORDS_NUMBER, _PROPOSALS_NUMBER]))
    def text_something_else(self, number: int, to: str) -> None:
        e164 = self.e164s[number]
        self._sms(e164, to, _NOT_UNDERSTOOD, self.one_time.other_text(e164))

    @rule(number=numbers, way=ways, guess=guesses)
    def use_one_time(self, number: int, way: Way, guess: str) -> None:
        self._use(self.e164s[number], way, guess)

    @rule(number=numbers, way=ways)
    def use_one_time_wrongly_until_refused(self, number: int, way: Way) -> None:
        """Which makes no code longer but those that are asked for in the same way."""
        e164 = self.e164s[number]
        self._wait_for_codes(e164, 2)
        self._ask(e164, way)
        for _ in range(oracle.TRIES + 1):
            self._use(e164, way, "wrong")
        self._start("Recovery", e164)

    @rule(number=numbers, strangers_guess=st.booleans(), which=st.integers(0, 3), guess=st.sampled_from(["right", "other"]))
    def use_one_time_by_its_grant(self, number: int, strangers_guess: bool, which: int, guess: str) -> None:
        """Strangers ask for another one, and guess at it, in between."""
        self._pass(1)
        self._request(self.e164s[number])
        if strangers_guess:
            self.use_one_time_wrongly_until_refused(number, "site")
            self._pass(1)
            self._request(self.e164s[number])
        if self.asked:
            self._use_by_grant(self.asked[-1 - which % len(self.asked)], guess)

    @rule(which=which, forged=st.booleans())
    def confirm_proposed(self, which: Which, forged: bool) -> None:
        self._confirm_proposed(self._a_grant("password", which), forged)

    # --- from end to end, so that what comes after is reached often

    @rule(number=numbers, way=ways, then=st.sampled_from(["choose", "choose", "confirm", "break off"]), password=new_passwords)
    def get_in_by_one_time(self, number: int, way: Way, then: str, password: str) -> None:
        e164 = self.e164s[number]
        self._wait_for_codes(e164)
        self._ask(e164, way)
        given = self._use(e164, way, "right")
        if given and then == "confirm":
            self._confirm_proposed(given)
        elif given and then == "choose":
            self._choose(ONE_TIME, given, password)

    @rule(
        number=numbers,
        password=new_passwords,
        asks_after=st.sampled_from([None, None, "site", "handset"]),
        too_soon=st.booleans(),
        forged=st.booleans(),
    )
    def propose_and_confirm(self, number: int, password: str, asks_after: Way | None, too_soon: bool, forged: bool) -> None:
        """asks_after: the way by which another one-time password is asked for before the confirmation, and used.
        too_soon: the proposed password is tried before it is confirmed. forged: somebody else proposed it; the subscriber, who
        knows of another, is told so and chooses.
        """
        e164 = self.e164s[number]
        self._let_in(number)
        self._wait_for_codes(e164, 2)
        self._propose(e164, password)
        if asks_after:
            self._ask(e164, asks_after)
        given = self._use(e164, asks_after or "handset", "right")
        if too_soon:
            self._sign_in(e164, password)
        if given:
            self._confirm_proposed(given, forged)
        if given and forged:
            self._confirm_proposed(given)
            self._choose(ONE_TIME, given, GOOD_PASSWORDS[1])

    @rule(number=numbers, way=ways)
    def use_one_time_after_another_password(self, number: int, way: Way) -> None:
        e164 = self.e164s[number]
        self._let_in(number)
        self._wait_for_codes(e164, 2)
        self._ask(e164, way)
        self._go_through("Recovery", e164, GOOD_PASSWORDS[2])
        self._use(e164, way, "right")

    @rule(number=numbers, way=ways)
    def use_one_time_while_blocked(self, number: int, way: Way) -> None:
        e164 = self.e164s[number]
        self._let_in(number)
        right = self.oracle.numbers[e164].password or GOOD_PASSWORDS[0]
        self._wait_for_codes(e164)
        self.sign_in_wrongly_until_refused(number)
        self._ask(e164, way)
        self._sign_in(e164, right)
        with self._stream(lags=True):
            self._use(e164, way, "right")
            self._sign_in(e164, right)

    # --- what the rules are made of

    def _wait_if(self, patiently: bool) -> None:
        if patiently:
            self._pass(1)

    def _ask(self, e164: str, way: Way) -> None:
        if way == "site":
            self._request(e164)
        else:
            self._text_the_word(e164, _WORDS[0])

    def _request(self, e164: str) -> None:
        due = self.one_time.request(e164)
        answer, sent = self.world.call(calls.request_one_time(self.world.auth, e164))
        self._expect("request_one_time", due, answer)
        if sent:
            number = self.oracle.numbers[e164]
            self._sent_one_time(number.e164, "site")
            self.asked.append(Asked(e164, number, number.one_time["site"], sent.grant))

    def _text_the_word(self, e164: str, word: str) -> None:
        if self._sms(e164, _WORDS_NUMBER, word, self.one_time.word(e164)):
            self._sent_one_time(e164, "handset")

    def _propose(self, e164: str, password: str) -> None:
        if self._sms(e164, _PROPOSALS_NUMBER, f"25 {password}", self.one_time.proposal(e164, password)):
            self._sent_one_time(e164, "handset", password)

    def _sms(self, e164: str, to: str, said: str, due: Effect) -> bool:
        """Whether a one-time password was sent for it."""
        before = self._seen_of_texts(e164)
        self.world.text(e164, to, said)
        after = self._seen_of_texts(e164)
        sent, told = after[0] != before[0], (after[1] - before[1]).elements()
        assert (sent, Counter(told)) == (due.sent, Counter(due.told)), f"a text: {due} was due"
        self._step("text", oracle.Answer(reason=" ".join([*due.told, *["sent"] * due.sent]) or "nothing"))
        return due.sent

    def _seen_of_texts(self, e164: str) -> tuple[Challenge | None, Counter[str]]:
        account_id = self.accounts.get(e164)
        told = self.world.told_of_texts(account_id) if account_id else Counter[str]()
        return self.world.newest_one_time("handset", e164, account_id), told

    def _sent_one_time(self, e164: str, way: Way, proposed: str | None = None, printed: str = "") -> None:
        """printed: the half of it that isn't sent."""
        challenge = self.world.newest_one_time(way, e164, self.accounts.get(e164))
        assert challenge is not None
        assert challenge not in self.challenges.values(), "an older one-time password is looked for"
        text = printed + self.world.password_of(challenge) if self.oracle.numbers[e164].known else None
        code = self.one_time.sent(e164, way, text, proposed)
        assert text is None or len(text) == code.digits, "the one-time password's length"
        self.challenges[id(code)] = challenge
        self.sent[e164, way].append(code)

    def _use(self, e164: str, way: Way, guess: str) -> Given | None:
        text = self._one_time_text(self.oracle.numbers[e164].e164, way, guess)
        one = self.oracle.numbers[e164].one_time.get(way)
        return self._used(e164, one, text, self.one_time.use(e164, way, text))

    def _use_by_grant(self, asked: Asked, guess: str) -> None:
        """guess: "right", or of another request."""
        e164, one = asked.e164, asked.one
        if self.oracle.numbers[e164] is not asked.number:
            return  # the number leads elsewhere since
        texts = [one.code.text] if guess == "right" else [code.text for code in self.sent[asked.number.e164, "site"]]
        text = next((text for text in texts if text and (text == one.code.text) == (guess == "right")), "2" * LENGTHS["site"])
        self._used(e164, one, text, self.one_time.use_by_grant(e164, one, text), asked.grant)

    def _used(self, e164: str, one: OneTime | None, text: str, due: oracle.Answer, by_grant: str = "") -> Given | None:
        answer, used = self.world.call(calls.use_one_time(self.world.auth, e164, text, by_grant))
        self._expect("use_one_time, grant" if by_grant else "use_one_time", due, answer)
        if used is None:
            return None
        grant, proposed = used
        assert one
        flow = self.one_time.used(e164, one, grant)
        assert proposed == (flow.proposed is not None), "whether there is a proposal to confirm"
        return self._given(ONE_TIME, grant)

    def _one_time_text(self, e164: str, way: Way, guess: str) -> str:
        """One to type; where there is none of the kind asked for, a wrong one."""
        own = self.sent[e164, way]
        others = [code for (other, its_way), codes in self.sent.items() if other != e164 and its_way == way for code in codes]
        found = {"right": own[-1:], "older": own[:-1], "of another number": others}.get(guess, own[-1:])
        texts = [code.text for code in found if code.text is not None]
        nothing = "2" * LENGTHS[way]
        text = texts[-1] if texts else nothing
        match guess:
            case "its first half":
                return text[: len(text) // 2] + nothing[len(text) // 2 :]
            case "its second half":
                return nothing[: len(text) // 2] + text[len(text) // 2 :]
            case "wrong":
                return nothing
        return text

    def _confirm_proposed(self, given: Given, forged: bool = False) -> None:
        proposed = None if forged else self.one_time.proposed(given.grant)
        typed = proposed or "Never-26-proposed"
        due = self.one_time.confirm_proposed(given.grant, typed)
        answer, session = self.world.call(self.world.auth.confirm_proposed(given.grant, typed))
        self._expect("confirm_proposed", due, answer)
        flow = self._flow_of(given)
        if flow and session:
            self._signed_in(flow.number.e164, session)
