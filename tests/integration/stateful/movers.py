"""The machine's eighth part: a new phone is named at an office, approved, and stopped (M18)."""

from uuid import uuid4

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.integration.stateful import calls, oracle
from tests.integration.stateful.customers import By, bys
from tests.integration.stateful.machine import Met, Which, numbers, which
from tests.integration.stateful.new_phones import APPROVAL_S, NewPhones
from tests.integration.stateful.oracle import GOOD_PASSWORDS
from tests.integration.stateful.waiters import Waiters
from tests.integration.stateful.world import World

STAFF = ("ivanova", "petrov")
THEN = ("at once", "named again", "another password", "too late", "stopped")

staff = st.sampled_from(STAFF)
changes = st.integers(0, 3)


class Movers(Waiters):
    """The same two, who have lost their phones, or are said to have."""

    def __init__(self, world: World, met: Met) -> None:
        super().__init__(world, met)
        self.new_phones = NewPhones(self.oracle)
        self.named = [world.new_number() for _ in self.e164s]
        self.change_ids = [str(uuid4())]

    # --- step by step

    @rule(number=numbers, by=bys, phone=st.integers(0, 3), who=staff)
    def name_a_new_phone(self, number: int, by: By, phone: int, who: str) -> None:
        """Somebody's, perhaps."""
        self._name(self._identifier(number, by), [*self.named, *self.e164s][phone], who)

    @rule(change=changes, who=staff)
    def approve_a_new_phone(self, change: int, who: str) -> None:
        self._approve(self.change_ids[-1 - change % len(self.change_ids)], who)

    @rule(which=which)
    def stop_a_new_phone(self, which: Which) -> None:
        self._stop(self._a_token(which))

    # --- from end to end, so that what comes after is reached often

    @rule(number=numbers, by=bys, then=st.sampled_from(["at once", "at once", *THEN, "another password", "too late"]))
    def move_to_a_new_phone(self, number: int, by: By, then: str) -> None:
        """then: what comes before the approval. Nobody is out by it."""
        self._know_both()
        self.sign_in(number, "right")
        token, identifier, phone = self.tokens[-1], self._identifier(number, by), self.world.new_number()
        self._name(identifier, phone, STAFF[0])
        change_id = self.change_ids[-1]
        match then:
            case "named again":
                self._name(identifier, phone, STAFF[0])
            case "another password":
                self._wait_for_codes(self.e164s[number])
                self._go_through("Recovery", self.e164s[number], GOOD_PASSWORDS[1])
            case "too late":
                self._pass(APPROVAL_S // oracle.TICK_S + 1)
            case "stopped":
                self._stop(token)
        for who in (*STAFF, STAFF[0]):
            self._approve(change_id, who)
        for _ in range(2):
            self._stop(self.tokens[-1])
        self.sign_in(number, "right")

    @rule(number=numbers)
    def name_anothers_new_phone(self, number: int) -> None:
        self._know_both()
        for one in (number, 1 - number):
            self._name(self.e164s[one], self.named[number], STAFF[1])

    # --- what the rules are made of

    def _name(self, identifier: str, phone: str, who: str) -> None:
        due = self.new_phones.request(identifier, phone)
        assertion = self.world.staff_assertion(who)
        answer, change_id = self.world.call(calls.name_a_phone(self.world.auth, assertion, identifier, phone))
        self._expect("name_a_phone", due, answer)
        if change_id:
            self.new_phones.requested(identifier, change_id, who)
            self.change_ids.append(change_id)

    def _approve(self, change_id: str, who: str) -> None:
        due = self.new_phones.approve(change_id, who)
        answer, _ = self.world.call(calls.approve(self.world.auth, self.world.staff_assertion(who), change_id))
        self._expect("approve_a_phone", due, answer)

    def _stop(self, token: str) -> None:
        due = self.new_phones.cancel(token)
        answer, _ = self.world.call(calls.cancel(self.world.auth, token))
        self._expect("cancel_a_phone", due, answer)
