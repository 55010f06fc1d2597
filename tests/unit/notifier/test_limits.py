"""What the limits on SMS let through, and what they keep for whom."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.notifier.limits.domain import Admitted, Count, LimitId, OverLimit, Refused, Rule, decide
from services.notifier.settings import NotifierSettings

NOW = datetime(2026, 11, 3, 12, 0, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
Counts = Mapping[LimitId, Count]
RULES = {
    LimitId.NUMBER: Rule(3, 3, timedelta(days=1)),
    LimitId.RANGE: Rule(10, 6, HOUR),
    LimitId.COUNTRY: Rule(12, 12, HOUR),
}


def sent(limit: LimitId, count: int, at: datetime = NOW) -> Counts:
    return {limit: Count({RULES[limit].slot_of(at): count})}


def refused(counts: Counts, *, has_account: bool = True, now: datetime = NOW) -> OverLimit | None:
    decision = decide(counts, RULES, has_account=has_account, now=now)
    return decision if isinstance(decision, OverLimit) else None


@pytest.mark.row("M10")
def test_so_many_go_to_a_number_and_no_more() -> None:
    assert refused(sent(LimitId.NUMBER, 2)) is None
    over = refused(sent(LimitId.NUMBER, 3))
    assert over is not None
    assert (over.limit, over.refused) == (LimitId.NUMBER, Refused.ALL)


def test_what_a_range_keeps_back_goes_to_those_who_have_an_account() -> None:
    assert refused(sent(LimitId.RANGE, 5), has_account=False) is None
    over = refused(sent(LimitId.RANGE, 6), has_account=False)
    assert over is not None
    assert over.refused is Refused.STRANGERS
    assert refused(sent(LimitId.RANGE, 9), has_account=True) is None
    spent = refused(sent(LimitId.RANGE, 10), has_account=True)
    assert spent is not None
    assert spent.refused is Refused.ALL


def test_what_is_refused_counts_nowhere_and_what_is_admitted_everywhere() -> None:
    admitted = decide({**sent(LimitId.NUMBER, 1), **sent(LimitId.RANGE, 5)}, RULES, has_account=False, now=NOW)
    assert isinstance(admitted, Admitted)
    assert {limit: count.total for limit, count in admitted.counts.items()} == {LimitId.NUMBER: 2, LimitId.RANGE: 6}
    assert refused({**sent(LimitId.NUMBER, 1), **sent(LimitId.RANGE, 6)}, has_account=False) is not None


def test_what_is_told_was_not_told_within_the_time_of_the_limit() -> None:
    (count,) = sent(LimitId.RANGE, 10).values()

    def told(**at: datetime) -> bool:
        marks = {Refused(name): time for name, time in at.items()}
        over = refused({LimitId.RANGE: Count(count.slots, marks)})
        assert over is not None
        return over.tell

    assert told()
    assert told(all=NOW - HOUR)
    assert not told(all=NOW - HOUR + timedelta(seconds=1))
    # That strangers are refused was said; that all are is news.
    assert told(strangers=NOW)


def test_since_is_when_the_oldest_that_counts_went_out() -> None:
    slot = RULES[LimitId.RANGE].slot_of
    long_ago, first = NOW - 2 * HOUR, NOW - timedelta(minutes=30)
    over = refused({LimitId.RANGE: Count({slot(long_ago): 50, slot(first): 4, slot(NOW): 6})})
    assert over is not None
    assert timedelta(0) <= first - over.since < timedelta(minutes=1)


@given(st.lists(st.integers(0, 3 * 3600), min_size=1, max_size=120), st.integers(1, 6))
@example(list(range(0, 3 * 3600, 300)), 1)
def test_no_span_of_an_hour_holds_more_than_the_limit_wherever_it_begins(seconds: list[int], most: int) -> None:
    rule, count, out = Rule(most, most, HOUR), Count(), []
    for second in sorted(seconds):
        at = NOW + timedelta(seconds=second)
        decision = decide({LimitId.RANGE: count}, {LimitId.RANGE: rule}, has_account=True, now=at)
        if isinstance(decision, Admitted):
            out.append(at)
            count = decision.counts[LimitId.RANGE]
            assert len(count.slots) <= 61
    assert all(later - earlier >= HOUR for earlier, later in zip(out, out[most:], strict=False))


def test_an_hour_and_a_minute_later_there_is_room_again() -> None:
    assert refused(sent(LimitId.RANGE, 10), now=NOW + timedelta(minutes=59)) is not None
    assert refused(sent(LimitId.RANGE, 10), now=NOW + timedelta(minutes=61)) is None


def test_the_reserve_is_a_share_of_ranges_and_countries_and_not_of_a_number() -> None:
    rules = NotifierSettings(
        postgres_url="x", sms_per_number=7, sms_per_range=100, sms_per_country=10, sms_reserve=0.3
    ).limits()
    assert {limit: (rule.most, rule.strangers) for limit, rule in rules.items()} == {
        LimitId.NUMBER: (7, 7),
        LimitId.RANGE: (100, 70),
        LimitId.COUNTRY: (10, 7),
    }


def test_a_home_country_is_named_by_its_calling_code() -> None:
    assert NotifierSettings(postgres_url="x", sms_home_countries="7,375").home_countries() == {7, 375}
    assert NotifierSettings(postgres_url="x", sms_home_countries="").home_countries() == frozenset()
    with pytest.raises(ValueError, match="sms_home_countries"):
        NotifierSettings(postgres_url="x", sms_home_countries="+7")
