"""What becomes of an SMS from a handset."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from services.notifier.inbound.domain import (
    Arrived,
    Begins,
    Contradicts,
    Decision,
    Duplicate,
    Joins,
    Known,
    KnownPart,
    Limited,
    Reference,
    Rules,
    Sender,
    decide,
)

pytestmark = [pytest.mark.row("M6"), pytest.mark.row("B3")]

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
RULES = Rules(per_hour=3, per_day=5, repeat=MINUTE, assembly=5 * MINUTE, lifetime=10 * MINUTE)
WHOLE = Arrived("3339", Reference(), total=1, number=1, data_coding=8, digest=b"one")
FIRST = Arrived("111", Reference(1, 7), total=3, number=1, data_coding=8, digest=b"first")
SECOND = replace(FIRST, number=2, digest=b"second")
THIRD = replace(FIRST, number=3, digest=b"third")


def known(*parts: Arrived, is_gathering: bool = True, age: timedelta = timedelta(0), inbound_id: UUID | None = None) -> Known:
    """A text of which these have come."""
    one = parts[0]
    held = {part.number: KnownPart(part.digest, NOW - age) for part in parts}
    return Known(inbound_id or uuid4(), one.destination, one.reference, one.total, one.data_coding, is_gathering, held)


def decided(sms: Arrived, *texts: Known, sender: Sender | None = None) -> Decision:
    return decide(sms, texts, sender or Sender(), RULES, NOW)


def test_a_whole_text_is_complete_at_once() -> None:
    assert decided(WHOLE) == Begins(completes=True, texts=(NOW,))


def test_a_part_begins_a_text_and_the_last_one_completes_it_whichever_it_is() -> None:
    begun = known(THIRD)
    assert decided(THIRD) == Begins(completes=False, texts=(NOW,))
    assert decided(FIRST, begun) == Joins(begun.inbound_id, completes=False)
    both = known(THIRD, FIRST, inbound_id=begun.inbound_id)
    assert decided(SECOND, both) == Joins(begun.inbound_id, completes=True)


@pytest.mark.parametrize("is_gathering", [True, False])
def test_an_sms_that_comes_again_within_the_window_is_a_duplicate(is_gathering: bool) -> None:
    assert decided(FIRST, known(FIRST, is_gathering=is_gathering, age=MINUTE / 2)) == Duplicate()


def test_a_part_that_comes_again_is_a_duplicate_for_as_long_as_its_text_is_incomplete() -> None:
    assert decided(FIRST, known(FIRST, age=4 * MINUTE)) == Duplicate()


def test_two_equal_texts_sent_minutes_apart_are_two() -> None:
    assert decided(WHOLE, known(WHOLE, is_gathering=False, age=MINUTE)) == Begins(completes=True, texts=(NOW,))


def test_a_forgotten_digest_equals_nothing() -> None:
    old = Known(uuid4(), "3339", Reference(), 1, 8, False, {1: KnownPart(None, NOW)})
    assert decided(WHOLE, old) == Begins(completes=True, texts=(NOW,))


def test_another_text_within_the_window_is_no_duplicate() -> None:
    assert isinstance(decided(replace(WHOLE, digest=b"other"), known(WHOLE, is_gathering=False)), Begins)


@pytest.mark.parametrize(
    "other",
    [
        replace(SECOND, reference=Reference(1, 8)),
        replace(SECOND, reference=Reference(2, 7)),
        replace(SECOND, destination="3339"),
    ],
)
def test_a_part_of_another_reference_or_to_another_number_is_another_text(other: Arrived) -> None:
    assert isinstance(decided(other, known(FIRST)), Begins)


@pytest.mark.parametrize(
    "other",
    [
        replace(SECOND, total=2),
        replace(SECOND, data_coding=0),
        replace(FIRST, digest=b"another first"),
    ],
)
def test_a_part_that_contradicts_its_text_is_refused(other: Arrived) -> None:
    assert decided(other, known(FIRST)) == Contradicts()


def test_a_reference_that_comes_round_again_begins_a_new_text_once_the_old_one_is_whole() -> None:
    whole = known(FIRST, SECOND, THIRD, is_gathering=False)
    assert isinstance(decided(replace(FIRST, digest=b"new"), whole), Begins)


def test_a_repetition_of_the_old_text_does_not_slip_into_the_new_one_of_the_same_reference() -> None:
    old, new = known(FIRST, SECOND, THIRD, is_gathering=False), known(replace(FIRST, digest=b"new"))
    assert decided(SECOND, old, new) == Duplicate()
    assert decided(SECOND, new, old) == Duplicate()


def ago(*minutes: int) -> tuple[datetime, ...]:
    return tuple(NOW - one * MINUTE for one in minutes)


@pytest.mark.parametrize("texts", [ago(59, 30, 0), ago(1430, 1000, 900, 800, 61)], ids=["three in an hour", "five in a day"])
def test_who_sends_more_than_the_limit_is_limited(texts: tuple[datetime, ...]) -> None:
    assert decided(WHOLE, sender=Sender(texts)) == Limited(tell=True)
    assert decided(FIRST, sender=Sender(texts)) == Limited(tell=True)


def test_what_is_older_than_the_limits_is_not_counted_and_not_kept() -> None:
    texts = ago(1441, 1440, 60, 59, 30)
    assert decided(WHOLE, sender=Sender(texts)) == Begins(completes=True, texts=(*texts[2:], NOW))


def test_a_limit_is_told_of_once_a_day() -> None:
    texts = ago(3, 2, 1)
    assert decided(WHOLE, sender=Sender(texts, NOW - 23 * 60 * MINUTE)) == Limited(tell=False)
    assert decided(WHOLE, sender=Sender(texts, NOW - 24 * 60 * MINUTE)) == Limited(tell=True)


def test_the_limit_counts_texts_and_neither_their_parts_nor_repetitions() -> None:
    over = Sender(ago(3, 2, 1))
    begun = known(FIRST)
    assert decided(SECOND, begun, sender=over) == Joins(begun.inbound_id, completes=False)
    assert decided(FIRST, begun, sender=over) == Duplicate()


def test_nothing_decided_on_shows_a_digest() -> None:
    assert "first" not in repr(FIRST) + repr(known(FIRST))


def test_times_that_contradict_each_other_are_refused() -> None:
    for changes in ({"repeat": 11 * MINUTE}, {"assembly": 11 * MINUTE}):
        with pytest.raises(ValueError, match="must live"):
            replace(RULES, **changes)
