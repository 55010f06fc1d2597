"""The machine's tenth part: calls that are made again because their answers were lost (M21)."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.integration.stateful import oracle
from tests.integration.stateful.machine import KINDS, WRONG_PASSWORD, Met, numbers
from tests.integration.stateful.oracle import Answer, Oracle
from tests.integration.stateful.speakers import Speakers
from tests.integration.stateful.world import World

KEPT_FOR_S = 300
REUSED = Answer("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
# Where nothing came of a call, it is made anew.
NO_OUTCOMES = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")

CALLS = ("sign_in", *KINDS)
THEN = ("another request", "another call", "too late")


@dataclass(frozen=True)
class Came:
    """What a call came to, and with what."""

    request: tuple[str, ...]
    answer: Answer
    value: Any
    born: int


class Kept:
    """The oracle's ninth part: an id names one request of a method, for minutes, and what that came to."""

    def __init__(self, oracle: Oracle) -> None:
        self._oracle = oracle
        self._kept: dict[tuple[str, str], Came] = {}

    def find(self, call: str, request_id: str) -> Came | None:
        came = self._kept.get((call, request_id))
        return came if came and self._oracle.now - came.born < KEPT_FOR_S else None

    def keep(self, call: str, request_id: str, request: tuple[str, ...], answer: Answer, value: Any) -> None:
        if answer.code not in NO_OUTCOMES:
            self._kept[call, request_id] = Came(request, answer, value, self._oracle.now)


class Repeaters(Speakers):
    """The same two, who lose answers and ask once more."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__(world, met)
        self.kept = Kept(self.oracle)
        self.request_ids = [str(uuid4()) for _ in range(2)]

    @rule(call=st.sampled_from(CALLS), number=numbers, right=st.booleans(), named=st.integers(0, 1))
    def call_with_an_id(self, call: str, number: int, right: bool, named: int) -> None:
        self._call_named(call, self.request_ids[named], number, right)

    @rule(call=st.sampled_from(CALLS), number=numbers, right=st.booleans(), then=st.sampled_from(THEN))
    def repeat_a_call(self, call: str, number: int, right: bool, then: str) -> None:
        """At once, and after something else. right: of the password of a sign-in."""
        self._let_in(number)
        self._wait_for_codes(self.e164s[number], 2)
        request_id = str(uuid4())
        for _ in range(2):
            self._call_named(call, request_id, number, right)
        match then:
            case "another request":
                self._call_named(call, request_id, 1 - number, right)
            case "another call":
                self._call_named(CALLS[CALLS.index(call) - 1], request_id, number, right)
            case "too late":
                self._pass(KEPT_FOR_S // oracle.TICK_S + 1)
        self._call_named(call, request_id, number, right)

    # --- what the rules are made of

    def _call_named(self, call: str, request_id: str, number: int, right: bool) -> None:
        e164 = self.e164s[number]
        if call == "sign_in":
            password = (right and self.oracle.numbers[e164].password) or WRONG_PASSWORD
            value = self._once(
                call, request_id, (e164, password),
                lambda: self.oracle.sign_in(e164, password),
                self.world.auth.sign_in(e164, password, request_id=request_id),
            )  # fmt: skip
            if value:
                self._signed_in(e164, value)
        else:
            value = self._once(
                call, request_id, (e164,),
                lambda: self.oracle.start(call, e164),
                self.world.auth.flow(call).start(e164, request_id=request_id),
            )  # fmt: skip
            if value:
                self._sent(self.oracle.started(call, e164, value.grant), value)

    def _once(
        self,
        call: str,
        request_id: str,
        request: tuple[str, ...],
        due_first: Callable[[], Answer],
        work: Coroutine[Any, Any, Any],
    ) -> Any:
        """What came for the first time; None: nothing, or the same again."""
        came = self.kept.find(call, request_id)
        if came is None:
            due = due_first()
        elif came.request == request:
            due = came.answer
        else:
            due = REUSED
        answer, value = self.world.call(work)
        self._expect(f"{call}, named", due, answer)
        if came is None:
            self.kept.keep(call, request_id, request, answer, value)
            return value
        assert value is None or value == came.value, "another answer than the first time"
        return None
