"""The test that says whether two samples of times can be told apart."""

import random

import pytest

from bench.enumeration.statistics import FALSE_ALARM, compare

PAIRS = 7


def test_u_counts_pairs_and_p_is_corrected_for_ties() -> None:
    a, b = [1.1, 2.2, 2.2, 3.1, 3.3, 4.0, 4.4, 5.0], [3.1, 4.4, 5.5, 6.1, 6.6, 7.0, 7.2, 0.5]
    found = compare(a, b)
    assert found.a_slower * len(a) * len(b) == sum((x > y) + (x == y) / 2 for x in a for y in b) == 14
    assert found.p == pytest.approx(0.0655, abs=0.0001)
    assert compare(b, a).p == found.p


def test_equal_samples_are_not_told_apart_and_shifted_ones_are() -> None:
    chance = random.Random(4)
    a, b = ([chance.lognormvariate(2, 0.3) for _ in range(1000)] for _ in range(2))
    assert not compare(a, b).tells_apart(PAIRS)
    assert compare([one + 1 for one in a], b).tells_apart(PAIRS)
    assert compare(a, [one + 1 for one in b]).tells_apart(PAIRS)


def test_a_small_difference_is_seen_through_the_drift_of_a_machine() -> None:
    chance = random.Random(5)
    drift = [10 * index for index in range(300)]
    a, b = [one + 1 + chance.random() for one in drift], [one + chance.random() for one in drift]
    found = compare(a, b)
    assert found.p > 0.5
    assert found.tells_apart(PAIRS)


@pytest.mark.parametrize("work_ms", [3.0, 3.5, 3.99])
def test_thirty_microseconds_are_seen_through_delays_of_whole_milliseconds_and_not_through_even_ones(work_ms: float) -> None:
    chance = random.Random(6)

    def times(extra_ms: float, *, is_whole: bool) -> list[float]:
        delays = [chance.uniform(0, 10) for _ in range(1000)]
        return [(work_ms + extra_ms + chance.gauss(0, 0.05) + (round(delay) if is_whole else delay)) / 1000 for delay in delays]

    whole = compare(times(0.03, is_whole=True), times(0, is_whole=True))
    assert whole.tells_apart(PAIRS)
    assert min(whole.p, whole.p_paired) > FALSE_ALARM
    assert not compare(times(0.03, is_whole=False), times(0, is_whole=False)).tells_apart(PAIRS)


def test_many_tests_share_one_chance_of_a_false_alarm() -> None:
    chance = random.Random(7)
    found = [compare([chance.gauss(0, 1) for _ in range(50)], [chance.gauss(0, 1) for _ in range(50)]) for _ in range(700)]
    assert sum(one.tells_apart(1) for one in found) <= 700 * FALSE_ALARM * 2
    assert not any(one.tells_apart(700) for one in found)


def test_a_single_value_tells_nothing() -> None:
    assert compare([1.0] * 30, [1.0] * 30).p == 1
