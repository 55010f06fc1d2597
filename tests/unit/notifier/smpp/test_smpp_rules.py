"""Validity periods, addresses, pacing, outcomes: the small pure rules."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.smpp import NotSent, Sent, SmppSettings, Unknown
from services.notifier.smpp.outbound import NotSendable, parts_of
from services.notifier.smpp.outcomes import outcome_of_parts, outcome_of_response
from services.notifier.smpp.pacing import TokenBucket
from services.notifier.smpp.validity import MAX_VALIDITY, parse_relative_validity, relative_validity

pytestmark = pytest.mark.row("M10")


def test_five_minutes_are_written_as_the_book_says() -> None:
    assert relative_validity(timedelta(minutes=5)) == "000000000500000R"


@given(st.timedeltas(min_value=timedelta(seconds=1), max_value=timedelta(days=60)))
def test_a_message_never_outlives_its_code(remaining: timedelta) -> None:
    period = relative_validity(remaining)
    assert period is not None
    assert len(period) == 16
    read = parse_relative_validity(period)
    assert read is not None
    assert read <= remaining
    assert min(remaining, MAX_VALIDITY) - read < timedelta(seconds=1)


@pytest.mark.parametrize("remaining", [timedelta(0), timedelta(seconds=-5), timedelta(milliseconds=999)])
def test_no_validity_is_left_under_a_second(remaining: timedelta) -> None:
    assert relative_validity(remaining) is None


def fields_of(destination: str = "+79160000001", source: str = "Zasov", text: str = "hi") -> dict[str, object]:
    parts = parts_of(destination=destination, text=text, source=source, want_receipt=True, reference=1)
    return dict(parts[0])


@pytest.mark.parametrize(
    ("source", "ton", "npi", "written"),
    [
        ("Zasov", 5, 0, "Zasov"),
        ("3339", 3, 0, "3339"),
        ("+79160000002", 1, 1, "79160000002"),
        ("79160000002", 1, 1, "79160000002"),
    ],
)
def test_a_source_says_what_kind_of_number_it_is(source: str, ton: int, npi: int, written: str) -> None:
    fields = fields_of(source=source)
    assert (fields["source_addr_ton"], fields["source_addr_npi"], fields["source_addr"]) == (ton, npi, written)


@pytest.mark.parametrize(
    "broken",
    [
        {"destination": ""},
        {"destination": "+7916000000x"},
        {"destination": "1" * 21},
        {"destination": "٣٣٣٩"},
        {"source": ""},
        {"source": "a name of twelve"},
        {"source": "Засов"},
        {"text": ""},
    ],
)
def test_what_no_smsc_could_take_is_refused_without_being_quoted(broken: dict[str, str]) -> None:
    with pytest.raises(NotSendable) as refused:
        fields_of(**broken)
    assert not any(value and value in str(refused.value) for value in broken.values())


def test_the_bucket_lets_a_burst_through_and_then_the_rate() -> None:
    bucket = TokenBucket(rate=10, burst=3)
    waits = [bucket.reserve(0.0) for _ in range(5)]
    assert waits == pytest.approx([0, 0, 0, 0.1, 0.2])
    assert bucket.reserve(10.0) == 0


def test_a_throttled_window_halves_the_rate_once() -> None:
    bucket = TokenBucket(rate=100)
    for _ in range(50):
        bucket.slow_down(1.0)
    assert bucket.rate == 50
    for second in range(2, 60):
        bucket.slow_down(float(second))
    assert bucket.rate == 5
    for _ in range(95):
        bucket.recover()
    assert bucket.rate == pytest.approx(100)


def test_a_bucket_is_behind_only_when_slowed_and_spent() -> None:
    bucket = TokenBucket(rate=10, burst=2)
    for _ in range(5):
        bucket.reserve(0.0)
    assert not bucket.is_behind(0.0)  # busy at its full rate: others wait as ever
    bucket.slow_down(0.0)
    assert bucket.is_behind(0.5)
    assert not bucket.is_behind(2.0)  # a token of the lower rate has been saved


@pytest.mark.parametrize(
    ("status", "retryable"), [(0x58, True), (0x14, True), (0x0B, False), (0x45, False), (0x400, False), (0xFFFFFFFF, False)]
)
def test_only_throttling_and_a_full_queue_are_worth_a_retry(status: int, retryable: bool) -> None:
    outcome = outcome_of_response("submit_sm_resp", status, "")
    assert isinstance(outcome, NotSent)
    assert (outcome.retryable, outcome.status) == (retryable, status)


def test_a_message_taken_in_part_is_unknown_and_names_the_parts() -> None:
    refused = NotSent("refused", retryable=True, status=0x58)
    assert outcome_of_parts((), refused) is refused
    assert outcome_of_parts(("1",), refused) == Unknown("only some parts were accepted", ("1",))
    assert outcome_of_parts(("1",), Sent(("2",))) == Sent(("1", "2"))
    assert outcome_of_parts(("1",), Unknown("lost")) == Unknown("lost", ("1",))


def test_success_without_an_id_is_unknown() -> None:
    assert isinstance(outcome_of_response("submit_sm_resp", 0, ""), Unknown)
    assert isinstance(outcome_of_response("generic_nack", 0, ""), Unknown)


@pytest.mark.parametrize("bad", [{"password": "ninechars"}, {"system_id": "x" * 16}, {"window": 0}, {"password": "ж"}])
def test_settings_that_smpp_cannot_carry_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"at most|at least"):
        SmppSettings(**({"host": "h", "port": 1, "system_id": "zasov", "password": "devstack"} | bad))  # type: ignore[arg-type]


@pytest.mark.row("B2")
def test_settings_keep_the_password_to_themselves() -> None:
    assert "devstack" not in repr(SmppSettings(host="h", port=1, system_id="zasov", password="devstack"))
