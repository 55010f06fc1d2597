"""The machine's ninth part: they choose the language of their messages (M20)."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.integration.stateful import calls
from tests.integration.stateful.machine import KINDS, Met, Which, numbers, which
from tests.integration.stateful.movers import Movers
from tests.integration.stateful.oracle import NOBODY, OK, SESSION_INVALID, Answer, Flow, Oracle
from tests.integration.stateful.world import World

# Of whoever has chosen none.
RUSSIAN = "ru"
LANGUAGES = (RUSSIAN, "en")

languages = st.sampled_from(LANGUAGES)


class Languages:
    """The oracle's eighth part: an account's messages are in its language as it is when they are sent, whatever was begun
    before.
    """

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._chosen: dict[str, str] = {}

    def choose(self, token: str, language: str) -> Answer:
        if not self._oracle.is_live(token):
            return SESSION_INVALID
        self._chosen[self._oracle.sessions[token].number.e164] = language
        return OK

    def of(self, flow: Flow) -> str:
        return RUSSIAN if flow.found == NOBODY else self._chosen.get(flow.number.e164, RUSSIAN)


class Speakers(Movers):
    """The same two, of whom each has a language."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__(world, met)
        self.languages = Languages(self.oracle)

    @rule(which=which, language=languages)
    def set_language(self, which: Which, language: str) -> None:
        self._set_language(self._a_token(which), language)

    @rule(number=numbers, kind=st.sampled_from(KINDS), first=languages, then=languages)
    def read_in_another_language(self, number: int, kind: str, first: str, then: str) -> None:
        """then: chosen between two codes of the same flow."""
        self._let_in(number)
        self._wait_for_codes(self.e164s[number], 2)
        token = self._begin_session(number)
        self._set_language(token, first)
        given = self._start(kind, self.e164s[number])
        self._set_language(token, then)
        self._pass(1)
        if given:
            self._send_again(kind, given)

    # --- what the rules are made of

    def _set_language(self, token: str, language: str) -> None:
        due = self.languages.choose(token, language)
        answer, _ = self.world.call(calls.set_language(self.world.auth, token, language))
        self._expect("set_language", due, answer)

    def _language_of(self, flow: Flow) -> str:
        return self.languages.of(flow)
