"""Few guesses at each of many numbers, from one address, from one subnet, from many: how many are evaluated is exact, for the
stream is played, without its lag. `make test-sprays` measures the same with it."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from zasov.events.v1.lockout_event_pb2 import LimitDimension

from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import open_database
from services.lockout import outcomes
from services.lockout.limits import register
from services.lockout.penalties import PenaltyStore
from services.lockout.settings import LockoutSettings
from tests.integration.auth.emails import start_change
from tests.integration.auth.suite import (
    NEW_PASSWORD,
    PASSWORD,
    PHONE,
    PICTURES,
    UNKNOWN_PHONE,
    Refusal,
    Suite,
    refusal,
    refusal_of,
)

pytestmark = pytest.mark.row("B4")

NUMBERS = 300
# What a limit lets through with time is measured elsewhere: here bursts alone count.
_NEVER = 1e6


class Limits:
    """Relays and lockout's stream, as far as soft limits go."""

    def __init__(self, suite: Suite, settings: LockoutSettings, penalties: PenaltyStore) -> None:
        self._suite = suite
        self._rules = settings.limits()
        self._penalties = penalties
        self._tats: dict[str, float] = {}

    async def play(self) -> None:
        """Counts what has been published since the last time."""
        await self._count(self._suite.sql, outcomes.parse_auth, outcomes.AUTH_KINDS, outcomes.counted)
        await self._count(self._suite.otp_sql, outcomes.parse_otp, outcomes.OTP_KINDS, outcomes.counted_codes)
        await self._suite.play_stream()
        await self._suite.otp_sql.execute("DELETE FROM outbox")

    async def _count(self, sql: Any, parse: Any, kinds: frozenset[str], counted: Any) -> None:
        rows = await sql.fetch("SELECT e.type, e.data FROM outbox o JOIN event e USING (stream_id, version) ORDER BY o.id")
        for one in counted([parse(row["data"]) for row in rows if row["type"] in kinds]):
            rule = self._rules[one.key.dimension]
            self._tats[one.key.to_text()], tripped = register(self._tats.get(one.key.to_text(), 0.0), one.at, rule)
            if tripped:
                await self._penalties.impose(one.key, datetime.now(UTC) + timedelta(seconds=rule.penalty_s))


@pytest.fixture
async def sprayed(start: Any, urls: dict[str, str]) -> Any:
    """Starts the suite with a captcha, and the limits beside it; keyword arguments are lockout's settings."""
    databases = []

    async def start_with(captcha: bool = True, **changed: Any) -> tuple[Suite, Limits]:
        names = [name.removeprefix("LIMIT_DIMENSION_").lower() for name, value in LimitDimension.items() if value]
        settings = LockoutSettings(postgres_url=urls["lockout"], **{f"{name}_interval_s": _NEVER for name in names}, **changed)
        suite = await start(auth=PICTURES if captcha else None)
        database = open_database(settings)
        databases.append(database)
        return suite, Limits(suite, settings, PenaltyStore(OutboxWaker(await database.__aenter__())))

    yield start_with
    for database in databases:
        await database.__aexit__(None, None, None)


def number(index: int) -> str:
    """Each in a range of its own."""
    return f"+7916{index:03d}4567"


def address(index: int) -> str:
    """Each in a subnet of its own."""
    return f"10.{index >> 8}.{index & 255}.7"


async def spray(suite: Suite, limits: Limits, phones: list[str], ips: list[str]) -> Counter[str]:
    """One guess at each number. Answers how often which reason was given."""
    reasons = Counter[str]()
    for phone, ip in zip(phones, ips, strict=True):
        reasons[(await refusal(suite.auth.sign_in(phone, "Wrong-1-password", ip=ip))).reason] += 1
        await limits.play()
    return reasons


async def test_from_one_address_as_many_guesses_are_evaluated_as_its_burst_and_one(sprayed: Any, evaluated: list[bool]) -> None:
    suite, limits = await sprayed()
    reasons = await spray(suite, limits, [number(i) for i in range(NUMBERS)], ["10.0.0.7"] * NUMBERS)
    assert reasons == {"CREDENTIALS_REJECTED": 31, "ORIGIN_LIMITED": NUMBERS - 31}
    assert len(evaluated) == 31


async def test_from_one_subnet_as_many_guesses_are_evaluated_as_its_burst_and_one(sprayed: Any, evaluated: list[bool]) -> None:
    suite, limits = await sprayed()
    ips = [f"10.0.0.{index % 250 + 1}" for index in range(NUMBERS)]
    reasons = await spray(suite, limits, [number(i) for i in range(NUMBERS)], ips)
    assert reasons == {"CREDENTIALS_REJECTED": 201, "ORIGIN_LIMITED": NUMBERS - 201}
    assert len(evaluated) == 201


async def test_from_many_addresses_as_many_guesses_are_evaluated_as_the_systems_burst_and_one(
    sprayed: Any, evaluated: list[bool]
) -> None:
    suite, limits = await sprayed(failures_by_system_burst=100)
    everywhere = [address(i) for i in range(NUMBERS)]
    reasons = await spray(suite, limits, [number(i) for i in range(NUMBERS)], everywhere)
    assert reasons == {"CREDENTIALS_REJECTED": 101, "CAPTCHA_REQUIRED": NUMBERS - 101}
    assert len(evaluated) == 101


async def test_at_one_range_from_many_addresses_as_many_are_evaluated_as_the_ranges_burst_and_one(
    sprayed: Any, evaluated: list[bool]
) -> None:
    suite, limits = await sprayed()
    phones = [f"+7916123{index:04d}" for index in range(NUMBERS)]
    reasons = await spray(suite, limits, phones, [address(i) for i in range(NUMBERS)])
    assert reasons == {"CREDENTIALS_REJECTED": 101, "CAPTCHA_REQUIRED": NUMBERS - 101}
    assert len(evaluated) == 101
    assert (await refusal(suite.auth.sign_in("+79161240000", "Wrong-1-password"))).reason == "CREDENTIALS_REJECTED"


async def test_what_the_stream_has_not_counted_yet_is_all_that_passes_a_limit(sprayed: Any, evaluated: list[bool]) -> None:
    suite, limits = await sprayed()
    at_once = 20
    for first in range(0, NUMBERS, at_once):
        guesses = [suite.auth.sign_in(number(i), "Wrong-1-password", ip="10.0.0.7") for i in range(first, first + at_once)]
        answers = await asyncio.gather(*guesses, return_exceptions=True)
        assert {refusal_of(one).reason for one in answers} <= {"CREDENTIALS_REJECTED", "ORIGIN_LIMITED"}
        await limits.play()
    assert 31 <= len(evaluated) <= 30 + at_once


async def test_a_botnet_that_trips_the_systems_limit_keeps_nobody_out_who_solves_a_captcha(
    sprayed: Any, evaluated: list[bool]
) -> None:
    suite, limits = await sprayed(failures_by_system_burst=20)
    await suite.register(captcha_proof=await suite.auth.solved())
    await spray(suite, limits, [number(i) for i in range(40)], [address(i) for i in range(40)])
    before = len(evaluated)
    assert (await refusal(suite.auth.sign_in())).reason == "CAPTCHA_REQUIRED"
    assert (await refusal(suite.auth.sign_in(captcha_proof="invented"))).reason == "CAPTCHA_REJECTED"
    assert (await refusal(suite.auth.sign_in(captcha_proof=await suite.auth.solved("wrong")))).reason == "CAPTCHA_REJECTED"
    assert len(evaluated) == before, "who is asked for a captcha costs no hash"
    proof = await suite.auth.solved()
    session = await suite.auth.sign_in(captcha_proof=proof)
    assert (await refusal(suite.auth.sign_in(captcha_proof=proof))).reason == "CAPTCHA_REJECTED"
    assert await suite.strikes(session.account_id) == 0
    assert (await refusal(suite.auth.change(session.token))).reason == "CAPTCHA_REQUIRED"


async def test_being_asked_for_a_captcha_costs_nobody_a_place_and_leaves_no_trace(sprayed: Any) -> None:
    suite, limits = await sprayed(failures_by_system_burst=3)
    await spray(suite, limits, [number(i) for i in range(4)], [address(i) for i in range(4)])
    subjects = await suite.lockout_sql.fetchval("SELECT count(*) FROM subject")
    for _ in range(5):
        assert (await refusal(suite.auth.sign_in(UNKNOWN_PHONE))).reason == "CAPTCHA_REQUIRED"
    assert await suite.open_attempts() == 0
    assert await suite.lockout_sql.fetchval("SELECT count(*) FROM subject") == subjects


@pytest.mark.row("B2")
async def test_known_and_unknown_and_blocked_are_asked_for_a_captcha_alike(sprayed: Any) -> None:
    suite, limits = await sprayed(failures_by_system_burst=4)
    await suite.register(captcha_proof=await suite.auth.solved())
    await spray(suite, limits, [PHONE] * 3 + [number(1), number(2)], [address(i) for i in range(5)])
    answers: list[Refusal] = [await refusal(suite.auth.sign_in(phone)) for phone in (PHONE, UNKNOWN_PHONE)]
    assert answers[0].reason == "CAPTCHA_REQUIRED"
    assert answers[0].raw == answers[1].raw


async def test_codes_for_many_numbers_from_many_addresses_are_longer_though_captchas_were_solved(sprayed: Any) -> None:
    suite, limits = await sprayed(codes_by_system_burst=10)
    recovery = suite.auth.flow("Recovery")
    sent = []
    for index in range(11):
        proof = await suite.auth.solved()
        sent.append(await recovery.start(number(index), ip=address(index), captcha_proof=proof))
        await limits.play()
    assert {one.digits for one in sent} == {4}
    assert (await recovery.start(PHONE, captcha_proof=await suite.auth.solved())).digits == 6
    assert (await recovery.send_again(sent[0].grant, captcha_proof=await suite.auth.solved())).digits == 6
    # Passwords have a limit of their own.
    assert (await refusal(suite.auth.sign_in())).reason == "CREDENTIALS_REJECTED"


async def test_under_a_spray_at_passwords_codes_are_longer(sprayed: Any) -> None:
    suite, limits = await sprayed(failures_by_system_burst=3)
    await spray(suite, limits, [number(i) for i in range(4)], [address(i) for i in range(4)])
    assert (await suite.auth.flow("Recovery").start(PHONE, captcha_proof=await suite.auth.solved())).digits == 6


async def test_where_there_is_no_captcha_nobody_is_asked_for_one_and_codes_are_longer(sprayed: Any) -> None:
    suite, limits = await sprayed(captcha=False, failures_by_system_burst=3, codes_by_system_burst=3)
    reasons = await spray(suite, limits, [number(i) for i in range(9)], [address(i) for i in range(9)])
    assert reasons == {"CREDENTIALS_REJECTED": 9}
    assert (await suite.auth.flow("Recovery").start(PHONE)).digits == 6


async def test_while_the_stream_is_away_codes_have_six_digits(start: Any) -> None:
    suite = await start()
    recovery = suite.auth.flow("Recovery")
    assert (await recovery.start(number(1))).digits == 4
    await suite.lockout_sql.execute("UPDATE stream_beat SET at = clock_timestamp() - interval '31 s'")
    assert (await recovery.start(number(2))).digits == 6
    await suite.lockout_sql.execute("DELETE FROM stream_beat")
    assert (await recovery.start(number(3))).digits == 6
    await suite.lockout_sql.execute("INSERT INTO stream_beat (at) VALUES (clock_timestamp())")
    assert (await recovery.start(number(4))).digits == 4


@pytest.mark.row("B4")
async def test_while_the_stream_is_away_another_code_and_one_for_an_email_have_six_digits_too(start: Any) -> None:
    suite = await start()
    session = await suite.register()
    recovery = suite.auth.flow("Recovery")
    sent = await recovery.start(PHONE)
    await suite.lockout_sql.execute("DELETE FROM stream_beat")
    assert (sent.digits, (await recovery.send_again(sent.grant)).digits) == (4, 6)
    assert (await start_change(suite, session.token)).digits == 6


async def test_whose_code_a_spray_has_voided_is_told_so_and_recovers_with_a_longer_one(start: Any) -> None:
    suite = await start(otp={"spray_longer_after_issued": 2})
    await suite.register()
    recovery = suite.auth.flow("Recovery")
    sent = await recovery.start(PHONE)
    assert sent.digits == 4
    await recovery.start(number(1))
    refused = await refusal(recovery.confirm(sent.grant, await suite.code_of(sent.grant)))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "CODE_VOIDED")
    longer = await recovery.send_again(sent.grant)
    assert longer.digits == 6
    grant = await recovery.confirm(longer.grant, await suite.code_of(longer.grant))
    await recovery.choose(grant, NEW_PASSWORD)
    await suite.auth.sign_in(password=NEW_PASSWORD)
    assert (await refusal(suite.auth.sign_in(password=PASSWORD))).reason == "CREDENTIALS_REJECTED"
