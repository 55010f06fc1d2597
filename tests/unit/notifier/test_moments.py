"""When something happened, as messages say it."""

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.moments import LONGEST_MOMENT, Moments
from services.notifier.settings import NotifierSettings
from services.notifier.smpp import parts_count


def event_at(at: datetime) -> UUID:
    return UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 0b10 << 62)


AT = event_at(datetime(2026, 11, 23, 21, 5, tzinfo=UTC))


@pytest.mark.row("M20")
@pytest.mark.parametrize(
    ("zone", "language", "said"),
    [
        ("Europe/Moscow", "ru", "24.11 в 00:05 (UTC+3)"),
        ("Europe/Moscow", "en", "24 Nov, 00:05 (UTC+3)"),
        ("Asia/Kathmandu", "ru", "24.11 в 02:50 (UTC+5:45)"),
        ("America/New_York", "en", "23 Nov, 16:05 (UTC-5)"),
    ],
)
def test_a_moment_is_said_in_the_operators_time_and_in_the_subscribers_language(zone: str, language: str, said: str) -> None:
    assert Moments(zone).of(AT, language) == said


@given(st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1)), st.sampled_from(["ru", "en"]))
def test_no_moment_is_longer_than_texts_are_counted_with(at: datetime, language: str) -> None:
    said = Moments("Asia/Kathmandu").of(event_at(at.replace(tzinfo=UTC)), language)
    assert len(said) <= len(LONGEST_MOMENT)
    if language == "en":
        assert parts_count("x" * 130 + said) == 1, "in letters that an SMS has seven bits for"


@given(st.integers(0, (1 << 128) - 1))
def test_whatever_an_id_holds_there_is_a_moment_for_it(number: int) -> None:
    for zone in ("Pacific/Kiritimati", "Pacific/Midway"):
        assert "UTC" in Moments(zone).of(UUID(int=number), "ru")


@pytest.mark.parametrize("zone", ["Moscow", "", "../../etc/passwd", "Europe"])
def test_a_zone_that_there_is_not_is_found_at_start_up(zone: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        NotifierSettings(postgres_url="postgresql://x", time_zone=zone)
