"""The machine's fourth part: recovery that staff begin at an office (M18), by what is on file or by a slip of two halves."""

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.integration.stateful import calls, oracle
from tests.integration.stateful.customers import By, Customers, bys
from tests.integration.stateful.handsets import patiently
from tests.integration.stateful.machine import A_DAY, numbers
from tests.integration.stateful.oracle import GOOD_PASSWORDS, ONE_TIME

HALVES = ("its first half", "its second half")

hows = st.sampled_from(["on_file", "slip", "slip"])
guesses = st.sampled_from(["right", "right", "wrong", "older", "of another number", *HALVES])


class Visitors(Customers):
    """The same two, who go to an office with their documents."""

    # --- step by step

    @rule(number=numbers, by=bys, how=hows, patiently=patiently)
    def start_at_office(self, number: int, by: By, how: str, patiently: bool) -> None:
        self._wait_if(patiently)
        self._start_at_office(self._identifier(number, by), how)

    @rule(number=numbers, by=bys, guess=guesses)
    def use_what_an_office_began(self, number: int, by: By, guess: str) -> None:
        self._use(self._identifier(number, by), "office", guess)

    # --- from end to end, so that what comes after is reached often

    @rule(number=numbers, how=hows, twice=st.booleans(), password=st.sampled_from(GOOD_PASSWORDS))
    def get_in_by_office(self, number: int, how: str, twice: bool, password: str) -> None:
        """twice: by what is used up."""
        e164 = self.e164s[number]
        self._let_in(number)
        self._wait_for_codes(e164)
        self._start_at_office(e164, how)
        given = self._use(e164, "office", "right")
        if twice:
            self._use(e164, "office", "right")
        if given:
            self._choose(ONE_TIME, given, password)

    @rule(number=numbers, half=st.sampled_from(HALVES))
    def guess_the_other_half(self, number: int, half: str) -> None:
        """Which leaves every other way in as it was."""
        e164 = self.e164s[number]
        self._let_in(number)
        self._pass(A_DAY)
        self._start_at_office(e164, "slip")
        for _ in range(oracle.TRIES):
            self._use(e164, "office", half)
        self._use(e164, "office", "right")
        self._start("Recovery", e164)

    @rule(number=numbers, first=hows, second=hows)
    def go_to_an_office_again(self, number: int, first: str, second: str) -> None:
        """The newer one alone is good."""
        e164 = self.e164s[number]
        self._let_in(number)
        for how in (first, second):
            self._pass(1)
            self._start_at_office(e164, how)
        self._use(e164, "office", "older")
        self._use(e164, "office", "right")

    @rule(number=numbers, how=hows)
    def go_to_an_office_blocked(self, number: int, how: str) -> None:
        """Beginning it changes nothing; another password since, and it is void."""
        e164 = self.e164s[number]
        self._let_in(number)
        self._pass(A_DAY)
        self.sign_in_wrongly_until_refused(number)
        self._start_at_office(e164, how)
        self.sign_in(number, "right")
        self._go_through("Recovery", e164, GOOD_PASSWORDS[1])
        self._use(e164, "office", "right")

    # --- what the rules are made of

    def _start_at_office(self, identifier: str, how: str) -> None:
        due = self.one_time.at_office(identifier, how)
        call = calls.start_at_office(self.world.auth, self.world.staff_assertion(), identifier, how)
        answer, printed = self.world.call(call)
        self._expect("start_at_office", due, answer)
        if printed is not None:
            self._sent_one_time(self.oracle.numbers[identifier].e164, "office", printed=printed)
