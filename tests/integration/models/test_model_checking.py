"""TLC finds the model in order, and what is missing when a guard is; docs/security.md tells it so. `make models` checks all."""

import pytest

from models.check import GUARDS, QUICK, Configuration, check, is_told
from models.counterexamples import in_words, told_in_the_docs

pytestmark = [pytest.mark.row("B1"), pytest.mark.row("M3")]

_CHEAP = [one for one in GUARDS if one.without in ("strike by row", "settle first")]


@pytest.mark.parametrize("wanted", QUICK, ids=lambda one: one.name)
def test_the_protocol_holds(wanted: Configuration) -> None:
    verdict = check(wanted, "auto")
    assert verdict.violated is None, in_words(verdict.steps)
    assert verdict.states > 1000, "it must have gone somewhere"


@pytest.mark.parametrize("wanted", _CHEAP, ids=lambda one: str(one.without))
def test_without_a_guard_it_does_not_hold_and_the_docs_tell_the_shortest_way(wanted: Configuration) -> None:
    verdict = check(wanted, "1")
    assert verdict.violated is not None
    assert is_told(str(wanted.without), verdict), in_words(verdict.steps)


def test_the_docs_tell_of_each_guard() -> None:
    assert {one.without for one in GUARDS} <= set(told_in_the_docs())
