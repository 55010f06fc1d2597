"""The challenge and the budget, for whatever order of commands."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zasov.events.v1.otp_event_pb2 import OtpFailed, OtpPurpose, OtpRefused, OtpVerified

from services.otp.codes import CodeKey, impossible_mac, is_well_formed, new_code, new_tag
from services.otp.domain import (
    BUDGET_WINDOW,
    Admitted,
    Budget,
    Challenge,
    CheckMade,
    GiveWay,
    IssuedSecret,
    Lapse,
    Refused,
    Rules,
    State,
    admit,
    decide,
    evolve,
    issued,
)

NOW = datetime(2025, 1, 1, tzinfo=UTC)
RECOVERY, REGISTRATION = OtpPurpose.OTP_PURPOSE_RECOVERY, OtpPurpose.OTP_PURPOSE_REGISTRATION
RULES = Rules(
    digits=4,
    lifetime=timedelta(minutes=5),
    password_lifetime=timedelta(minutes=30),
    tries=3,
    cool_down=timedelta(seconds=30),
    longer_after_wrong=3,
    longest_after_wrong=9,
    refuse_after_wrong=15,
    issues_per_day=20,
)
SECRET = IssuedSecret(UUID(int=1), UUID(int=2), 3, False, b"m" * 32)

commands = st.sampled_from([CheckMade(True), CheckMade(False), CheckMade(False, without_grant=True), GiveWay(), Lapse()])
histories = st.lists(st.tuples(commands, st.integers(0, 200)), max_size=12)


def opened() -> Challenge:
    return evolve(None, issued(RECOVERY, 4, NOW + RULES.lifetime), NOW, SECRET)


@pytest.mark.row("M4")
@settings(deadline=None)
@given(histories)
def test_a_challenge_is_verified_at_most_once_and_only_while_open_and_alive(history: list) -> None:
    challenge, now, verified = opened(), NOW, 0
    for command, seconds in history:
        now += timedelta(seconds=seconds)
        before = challenge
        for fact in decide(challenge, command, now):
            if isinstance(fact, OtpVerified):
                verified += 1
                assert before.state is State.OPEN
                assert now < before.expires_at
            challenge = evolve(challenge, fact, now)
        if before.state is not State.OPEN:
            assert challenge.state is before.state
    assert verified <= 1
    assert (verified == 1) == (challenge.state is State.VERIFIED)


@pytest.mark.row("M4")
@settings(deadline=None)
@given(histories)
def test_an_open_challenge_has_had_fewer_failures_than_tries(history: list) -> None:
    challenge, now = opened(), NOW
    for command, seconds in history:
        now += timedelta(seconds=seconds)
        for fact in decide(challenge, command, now):
            challenge = evolve(challenge, fact, now)
            if isinstance(fact, OtpFailed):
                assert fact.tries_left == max(0, challenge.max_tries - challenge.failures)
    assert challenge.state is not State.OPEN or challenge.failures < challenge.max_tries


@pytest.mark.row("M10")
def test_a_code_that_gives_way_after_its_time_has_expired_instead() -> None:
    assert [type(f).__name__ for f in decide(opened(), GiveWay(), NOW)] == ["OtpSuperseded"]
    assert [type(f).__name__ for f in decide(opened(), GiveWay(), NOW + RULES.lifetime)] == ["OtpExpired"]
    assert decide(opened(), Lapse(), NOW) == []


@pytest.mark.row("M5")
def test_wrong_checks_without_the_grant_are_recorded_and_take_no_try() -> None:
    challenge = opened()
    for _ in range(5):
        (fact,) = decide(challenge, CheckMade(False, without_grant=True), NOW)
        assert isinstance(fact, OtpFailed)
        assert (fact.tries_left, fact.without_grant) == (SECRET.max_tries, True)
        challenge = evolve(challenge, fact, NOW)
    assert challenge == opened()


def test_a_stream_begins_with_issued_and_has_it_once() -> None:
    with pytest.raises(ValueError, match="begins"):
        evolve(None, OtpVerified(), NOW)
    with pytest.raises(ValueError, match="once"):
        evolve(opened(), issued(RECOVERY, 4, NOW), NOW, SECRET)


@settings(deadline=None)
@given(st.uuids(), st.uuids(), st.integers(1, 10), st.booleans(), st.binary(min_size=32, max_size=32))
def test_the_secret_of_issued_survives_its_bytes(subject: UUID, flow: UUID, tries: int, decoy: bool, mac: bytes) -> None:
    secret = IssuedSecret(subject, flow, tries, decoy, mac)
    assert IssuedSecret.from_bytes(secret.to_bytes()) == secret


@pytest.mark.row("B2")
def test_no_mac_stands_in_a_repr() -> None:
    assert "mmmm" not in f"{SECRET!r}{opened()!r}"


moments = st.lists(st.integers(0, 30 * 3600), max_size=40).map(sorted)


@pytest.mark.row("B4")
@settings(deadline=None)
@given(moments, st.integers(0, 3600))
def test_a_code_is_never_shorter_for_more_wrong_checks(seconds: list, later: int) -> None:
    now = NOW + timedelta(seconds=30 * 3600 + later)
    wrong = tuple(NOW + timedelta(seconds=s) for s in seconds)
    counted = sum(at > now - BUDGET_WINDOW for at in wrong)
    match admit(Budget(wrong), RECOVERY, RULES, now):
        case Admitted(digits):
            assert digits == (4 if counted < 3 else 6 if counted < 9 else 8)
            assert counted < 15
        case Refused(reason, retry_in):
            assert counted >= 15
            assert reason == OtpRefused.REASON_BUDGET_SPENT
            assert isinstance(admit(Budget(wrong), RECOVERY, RULES, now + retry_in), Admitted)
            assert isinstance(admit(Budget(wrong), RECOVERY, RULES, now + retry_in - timedelta(microseconds=1)), Refused)


@pytest.mark.row("M10")
@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 40), st.sampled_from([RECOVERY, REGISTRATION])), max_size=80))
def test_codes_of_a_purpose_keep_their_distance_and_their_number(requests: list) -> None:
    budget, now, given_at = Budget(), NOW, []
    for seconds, purpose in requests:
        now += timedelta(seconds=seconds)
        match admit(budget, purpose, RULES, now):
            case Admitted():
                assert not [at for at, what in given_at if what == purpose and now - at < RULES.cool_down]
                given_at.append((now, purpose))
                budget = budget.within_window(now).with_issued(now, purpose)
            case Refused(_, retry_in):
                assert retry_in > timedelta(0)
                assert isinstance(admit(budget, purpose, RULES, now + retry_in), Admitted)
    assert len(given_at) <= RULES.issues_per_day
    assert len(budget.issued) == len(given_at)


@pytest.mark.row("B4")
@settings(deadline=None)
@given(st.integers(0, 14))
def test_a_code_that_is_issued_can_be_checked(wrong: int) -> None:
    limit = RULES.wrong_limits().get(RULES.digits_after(wrong))
    assert limit is None or wrong < limit


@settings(deadline=None)
@given(st.sampled_from([4, 6, 8]))
def test_a_code_has_the_digits_asked_for(digits: int) -> None:
    code = new_code(digits)
    assert len(code) == digits
    assert is_well_formed(code, RECOVERY)
    assert len(new_tag()) == 2


@pytest.mark.row("B2")
@settings(deadline=None)
@given(st.uuids(), st.uuids(), st.text("0123456789", min_size=4, max_size=4))
def test_a_mac_is_good_for_one_challenge_one_code_and_one_key(here: UUID, there: UUID, code: str) -> None:
    key = CodeKey(b"k" * 32)
    mac = key.mac(here, code)
    assert key.is_right(here, code, mac)
    assert here == there or not key.is_right(there, code, mac)
    assert not key.is_right(here, f"{(int(code) + 1) % 10000:04d}", mac)
    assert not CodeKey(b"x" * 32).is_right(here, code, mac)
    assert not key.is_right(here, code, impossible_mac())
