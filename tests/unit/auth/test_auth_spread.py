"""What may say whether a number has an account is held back, and for how long (docs/adr/0037)."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
import uvloop
from google.protobuf import descriptor_pool
from zasov.auth.v1.common_pb2 import ClientContext
from zasov.auth.v1.recovery_service_pb2 import RecoveryServiceGetDeliveryRequest, StartRecoveryRequest
from zasov.auth.v1.registration_service_pb2 import StartRegistrationRequest
from zasov.auth.v1.sign_in_service_pb2 import SignInRequest

from services.auth import errors
from services.auth.roles import SERVICE_NAMES
from services.auth.spread import _OK_PROVES, Spread, is_a_question, named_in
from services.chassis.errors import DEFAULT_RETRY, ServiceError, invalid, overloaded, unavailable

SIGN_IN = "/zasov.auth.v1.SignInService/SignIn"
RECOVER = "/zasov.auth.v1.RecoveryService/StartRecovery"
CHANGE = "/zasov.auth.v1.AccountService/ChangePassword"
KEY, MOST_S, NOW = b"k" * 32, 0.01, datetime(2026, 11, 29, 12, tzinfo=UTC)
CLIENT = ClientContext(ip="198.51.100.7")


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    times: list[float] = []

    async def sleep(_self: Spread, seconds: float) -> None:
        times.append(seconds)

    monkeypatch.setattr(Spread, "sleep", sleep)
    return times


def spread(most_s: float = MOST_S, key: bytes = KEY) -> Spread:
    return Spread(key, most_s, "RU")


async def ask(method: str, request: Any, answer: object = "answer", of: Spread | None = None) -> object:
    async def inner(_request: Any, _context: Any) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return await (of or spread()).layer(method, inner)(request, cast(Any, None))


def sign_in(phone: str = "+79161234567") -> SignInRequest:
    return SignInRequest(phone=phone, password="x", client=CLIENT)


async def test_a_rejected_guess_is_held_back_and_rejected_then(slept: list[float]) -> None:
    with pytest.raises(ServiceError, match="CREDENTIALS_REJECTED"):
        await ask(SIGN_IN, sign_in(), errors.credentials_rejected(2))
    assert len(slept) == 1
    assert 0 <= slept[0] < MOST_S


async def test_a_right_password_is_answered_at_once_and_a_started_recovery_is_not(slept: list[float]) -> None:
    assert await ask(SIGN_IN, sign_in()) == "answer"
    assert slept == []
    assert await ask(RECOVER, StartRecoveryRequest(phone="+79161234567", client=CLIENT)) == "answer"
    assert len(slept) == 1


@pytest.mark.parametrize(
    "refusal",
    [
        overloaded(DEFAULT_RETRY),
        unavailable(),
        invalid({"phone": "must be a phone number"}),
    ],
    ids=lambda error: error.reason,
)
async def test_what_cannot_say_whose_number_it_is_comes_at_once(slept: list[float], refusal: ServiceError) -> None:
    with pytest.raises(ServiceError):
        await ask(SIGN_IN, sign_in(), refusal)
    assert slept == []


async def test_a_limit_on_the_origin_is_held_back_for_it_is_met_when_the_number_has_been_looked_up(slept: list[float]) -> None:
    with pytest.raises(ServiceError, match="ORIGIN_LIMITED"):
        await ask(SIGN_IN, sign_in(), errors.origin_limited(timedelta(seconds=5)))
    assert len(slept) == 1


def test_no_delay_is_cut_to_whole_milliseconds_by_the_loop_that_the_server_runs_on() -> None:
    """Else an answer's time modulo a millisecond is the work's."""
    of = spread()

    async def too_short() -> list[float]:
        found = []
        for seconds in (n * 1e-4 for n in range(60)):
            begun = time.monotonic()
            await of.sleep(seconds)
            if time.monotonic() - begun < seconds:
                found.append(seconds)
        return found

    assert uvloop.run(too_short()) == []


async def test_who_asks_again_is_held_back_as_long_however_the_number_is_written(slept: list[float]) -> None:
    for phone in ("+79161234567", "8 916 123-45-67", "+7 (916) 1234567"):
        with pytest.raises(ServiceError):
            await ask(SIGN_IN, sign_in(phone), errors.credentials_rejected(2))
    assert len(slept) == 3
    assert len(set(slept)) == 1


def test_each_number_question_day_and_installation_has_a_delay_of_its_own() -> None:
    one = spread().delay_s(SIGN_IN, "+79161234567", NOW)
    others = {
        spread().delay_s(SIGN_IN, "+79161234568", NOW),
        spread().delay_s(RECOVER, "+79161234567", NOW),
        spread().delay_s(SIGN_IN, "+79161234567", NOW + timedelta(days=1)),
        spread(key=b"l" * 32).delay_s(SIGN_IN, "+79161234567", NOW),
    }
    assert len(others | {one}) == 5
    assert spread().delay_s(SIGN_IN, "+79161234567", NOW + timedelta(hours=11)) == one


def test_delays_are_evenly_spread_over_the_whole_range() -> None:
    delays = [spread().delay_s(SIGN_IN, f"+7916{n:07d}", NOW) for n in range(2000)]
    assert all(0 <= one < MOST_S for one in delays)
    tenths = [sum(n * MOST_S / 10 <= one < (n + 1) * MOST_S / 10 for one in delays) for n in range(10)]
    assert min(tenths) > 120
    assert max(tenths) < 280


async def test_no_caller_is_held_back_beyond_what_is_left_of_the_deadline(
    slept: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.auth.spread.remaining_s", lambda at_most: min(at_most, 1e-9))
    with pytest.raises(ServiceError):
        await ask(SIGN_IN, sign_in(), errors.credentials_rejected(2))
    assert slept == [1e-9]


async def test_it_can_be_turned_off(slept: list[float]) -> None:
    with pytest.raises(ServiceError):
        await ask(SIGN_IN, sign_in(), errors.credentials_rejected(2), of=spread(most_s=0))
    assert slept == []


def test_a_request_is_named_by_its_number_and_else_by_its_grant() -> None:
    assert named_in(StartRecoveryRequest(account_number="600000000001", client=CLIENT), "RU") == "account_number:600000000001"
    assert named_in(StartRegistrationRequest(phone="89161234567", client=CLIENT), "RU") == "+79161234567"
    assert named_in(RecoveryServiceGetDeliveryRequest(grant="grant", client=CLIENT), "RU") == "grant"
    assert named_in(StartRecoveryRequest(phone="12", client=CLIENT), "RU") == ""


def test_every_method_that_a_client_asks_about_somebody_is_a_question() -> None:
    services = [descriptor_pool.Default().FindServiceByName(name) for name in SERVICE_NAMES]
    methods = {f"/{service.full_name}/{method.name}" for service in services for method in service.methods}
    questions = {method for method in methods if is_a_question(method)}
    assert {name.split(".")[-1].split("/")[0] for name in questions} == {
        "SignInService", "RegistrationService", "RecoveryService", "AccountService",
    }  # fmt: skip
    assert not any(name.startswith("/zasov.auth.v1.RecoveryService/") for name in methods - questions)
    assert not any(name.startswith("/zasov.auth.v1.RegistrationService/") for name in methods - questions)
    assert not any(name.startswith("/zasov.auth.v1.SignInService/") for name in methods - questions)
    assert CHANGE in methods - questions
    assert {name.rpartition("/")[2] for name in questions} >= _OK_PROVES
