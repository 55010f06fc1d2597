"""The soft limits' arithmetic."""

from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.lockout.limits import Limit, register

# Times are seconds since 1970, as in events: there a float's steps are a quarter of a microsecond.
NOW = 1_780_000_000.0
limits = st.builds(Limit, burst=st.integers(1, 40), interval_s=st.floats(0.01, 90, allow_nan=False), penalty_s=st.just(600.0))


def feed(limit: Limit, times: list[float], tat: float = 0.0) -> tuple[float, list[bool]]:
    tripped = []
    for at in times:
        tat, over = register(tat, at, limit)
        tripped.append(over)
    return tat, tripped


@given(limits, st.floats(0, 1e6))
def test_a_burst_passes_and_the_one_after_it_trips(limit: Limit, shift: float) -> None:
    at = NOW + shift
    _, tripped = feed(limit, [at] * (limit.burst + 1))
    assert tripped == [False] * limit.burst + [True]


@given(limits, st.lists(st.floats(1.0, 5.0), max_size=60))
def test_at_the_rate_or_below_it_nothing_ever_trips(limit: Limit, gaps: list[float]) -> None:
    times = list(accumulate((gap * limit.interval_s for gap in gaps), initial=NOW))
    _, tripped = feed(limit, times)
    assert not any(tripped)


@given(limits, st.lists(st.floats(0, 100), min_size=1, max_size=80))
def test_what_is_owed_is_never_more_than_a_burst(limit: Limit, gaps: list[float]) -> None:
    tat = 0.0
    for at in accumulate(gaps, initial=NOW):
        before = tat
        tat, _ = register(tat, at, limit)
        assert tat >= before, "what was counted is not forgotten"
        assert tat - at <= limit.burst * limit.interval_s + 1e-3


@given(limits, st.lists(st.floats(0, 100), min_size=1, max_size=80))
def test_after_an_excess_one_passes_again_as_soon_as_the_interval_is_over(limit: Limit, gaps: list[float]) -> None:
    times = list(accumulate(gaps, initial=NOW))
    tat, _ = feed(limit, times)
    assert register(tat, times[-1] + limit.interval_s, limit)[1] is False


@given(limits, st.lists(st.floats(0, 10), min_size=1, max_size=60), st.floats(0.01, 1e4))
def test_a_replay_of_times_long_past_trips_nothing_and_forgets_nothing(limit: Limit, gaps: list[float], later: float) -> None:
    old = list(accumulate(gaps, initial=NOW))
    since = old[-1] + limit.burst * limit.interval_s + later
    tat, _ = feed(limit, [since] * (limit.burst + 1))
    assert feed(limit, old, tat) == (tat, [False] * len(old))
    assert register(tat, since, limit)[1] is True, "and what came since is still over the limit"


@pytest.mark.parametrize(("burst", "interval"), [(30, 6.0), (10, 60.0), (3, 0.1)])
def test_after_a_long_silence_the_whole_burst_is_there_again(burst: int, interval: float) -> None:
    limit = Limit(burst, interval, 600)
    tat, _ = feed(limit, [NOW] * (burst + 5))
    assert feed(limit, [NOW + burst * interval + 1] * burst, tat)[1] == [False] * burst
