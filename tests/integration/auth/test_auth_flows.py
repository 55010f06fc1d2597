"""Registration (M2) and recovery (M4): steps that cannot be skipped, grants that are good once."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from services.auth.flows.codes import Codes
from services.auth.identifiers import LookupKey, Phone
from services.auth.sessions import decode_token, encode_token
from services.chassis.sealing import read_key
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import (
    NEW_PASSWORD,
    OTHER_PHONE,
    PASSWORD,
    PHONE,
    UNKNOWN_PHONE,
    Refusal,
    Suite,
    refusal,
    refusal_of,
)

KINDS = ["Registration", "Recovery"]


def is_grant_invalid(error: Refusal) -> bool:
    return (error.code, error.reason, list(error.violations)) == ("FAILED_PRECONDITION", "GRANT_INVALID", ["grant"])


def shape(message: Any) -> dict[str, str]:
    """Which fields are set, and of what type; ids and times differ from call to call."""
    return {field.name: type(value).__name__ for field, value in message.ListFields()}


def split(answers: Sequence[Any]) -> tuple[list[Any], list[Refusal]]:
    done = [answer for answer in answers if not isinstance(answer, BaseException)]
    return done, [refusal_of(answer) for answer in answers if isinstance(answer, BaseException)]


@pytest.mark.row("M2")
async def test_a_number_is_registered_with_a_code_and_a_password_and_is_signed_in(suite: Suite) -> None:
    registration = suite.auth.flow("Registration")
    sent = await registration.start("8 (916) 123-45-67", language="en")
    assert (sent.digits, len(sent.tag)) == (4, 2)
    assert sent.expires_at.seconds - sent.ask_again_at.seconds == 300
    code = await suite.code_of(sent.grant)
    session = await registration.choose(await registration.confirm(sent.grant, code))
    assert (await suite.auth.introspect(session.token)).account_id == session.account_id
    assert await suite.kinds(session.account_id) == ["AccountRegistered", "SessionStarted"]
    assert await suite.sql.fetchval("SELECT reserved_until IS NULL FROM identifier")
    assert (await suite.auth.sign_in()).account_id == session.account_id
    assert await suite.lockout_sql.fetchval("SELECT epoch FROM subject") == 1


async def test_a_code_goes_to_an_account_unless_it_is_to_register_a_number_that_has_none(start: StartSuite) -> None:
    suite = await start()
    registration, recovery = suite.auth.flow("Registration"), suite.auth.flow("Recovery")
    sent = await registration.start()
    assert not await suite.goes_to_an_account(sent.grant)
    again = await registration.send_again(sent.grant)
    assert not await suite.goes_to_an_account(again.grant)
    await registration.choose(await registration.confirm(again.grant, await suite.code_of(again.grant)))
    for flow in (registration, recovery):
        sent = await flow.start()
        assert await suite.goes_to_an_account(sent.grant)
        assert await suite.goes_to_an_account((await flow.send_again(sent.grant)).grant)


@pytest.mark.row("M2")
@pytest.mark.parametrize("kind", KINDS)
async def test_no_step_can_be_skipped_and_none_taken_twice(suite: Suite, kind: str) -> None:
    if kind == "Recovery":
        await suite.register()
    accounts = await suite.accounts()
    flow = suite.auth.flow(kind)
    sent = await flow.start()
    code = await suite.code_of(sent.grant)
    assert is_grant_invalid(await refusal(flow.choose(sent.grant, NEW_PASSWORD))), "without the code"
    assert await suite.accounts() == accounts
    confirmed = await flow.confirm(sent.grant, code)
    assert is_grant_invalid(await refusal(flow.confirm(sent.grant, code))), "used"
    assert is_grant_invalid(await refusal(flow.send_again(sent.grant))), "used"
    assert is_grant_invalid(await refusal(flow.confirm(confirmed, code))), "of the next step"
    assert is_grant_invalid(await refusal(flow.send_again(confirmed))), "of the next step"
    assert is_grant_invalid(await refusal(flow.choose(sent.grant, NEW_PASSWORD))), "of the step before"
    await flow.choose(confirmed, NEW_PASSWORD)
    assert is_grant_invalid(await refusal(flow.choose(confirmed, PASSWORD))), "used"
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("M2")
@pytest.mark.row("M4")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_grant_is_bound_to_its_flow_and_purpose_and_expires(suite: Suite, kind: str) -> None:
    await suite.register()
    this, other = suite.auth.flow(kind), suite.auth.flow(next(one for one in KINDS if one != kind))
    sent, elsewhere = await this.start(), await this.start(PHONE)
    code = await suite.code_of(sent.grant)
    assert is_grant_invalid(await refusal(other.confirm(sent.grant, code))), "of another purpose"
    parts, others = decode_token(sent.grant, 1), decode_token(elsewhere.grant, 1)
    assert parts
    assert others
    for flow_id, secret in ((parts[0][0], others[1]), (others[0][0], parts[1]), (UUID(int=0), parts[1])):
        assert is_grant_invalid(await refusal(this.confirm(encode_token(flow_id, secret), code))), "of another flow"
    for grant in ("x", sent.grant + "A", sent.grant[:-1], sent.grant.swapcase(), "💥", "A" * 1000):
        assert is_grant_invalid(await refusal(this.confirm(grant, code))), "no grant"
    confirmed = await this.confirm(sent.grant, code)
    assert is_grant_invalid(await refusal(other.choose(confirmed, NEW_PASSWORD))), "of another purpose"
    await suite.sql.execute("UPDATE flow SET expires_at = clock_timestamp()")
    assert is_grant_invalid(await refusal(this.choose(confirmed, NEW_PASSWORD))), "expired"
    assert is_grant_invalid(await refusal(this.confirm(elsewhere.grant, code))), "expired"
    await suite.auth.sign_in()


@pytest.mark.row("M4")
async def test_in_a_flow_whose_time_is_over_no_code_is_checked_and_none_sent(suite: Suite) -> None:
    await suite.register()
    recovery = suite.auth.flow("Recovery")
    sent = await recovery.start()
    code = await suite.code_of(sent.grant)
    events = await suite.otp_sql.fetchval("SELECT count(*) FROM event")
    await suite.sql.execute("UPDATE flow SET expires_at = clock_timestamp()")
    assert is_grant_invalid(await refusal(recovery.confirm(sent.grant, code)))
    assert is_grant_invalid(await refusal(recovery.send_again(sent.grant)))
    assert await suite.otp_sql.fetchval("SELECT count(*) FROM event") == events


@pytest.mark.row("M4")
async def test_a_flow_whose_time_ran_out_within_a_step_takes_no_further_step(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    await suite.register()
    recovery = suite.auth.flow("Recovery")
    sent = await recovery.start()
    code = await suite.code_of(sent.grant)
    verify = Codes.verify

    async def take_long(*arguments: Any) -> None:
        await verify(*arguments)
        await suite.sql.execute("UPDATE flow SET expires_at = clock_timestamp()")

    monkeypatch.setattr(Codes, "verify", take_long)
    assert is_grant_invalid(await refusal(recovery.confirm(sent.grant, code)))


@pytest.mark.row("M2")
@pytest.mark.parametrize("kind", KINDS)
async def test_of_two_who_choose_with_one_grant_one_succeeds(suite: Suite, kind: str) -> None:
    if kind == "Recovery":
        await suite.register()
    flow, confirmed = suite.auth.flow(kind), await suite.confirmed(kind)
    async with suite.sql.transaction():
        await suite.sql.execute("SELECT * FROM flow FOR UPDATE")
        calls = [asyncio.create_task(flow.choose(confirmed, one)) for one in (PASSWORD, NEW_PASSWORD)]
        if kind == "Registration":
            # It reserves the number first, so that who comes second is refused while the first still waits.
            await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        await suite.until_waiting_for_locks(2 if kind == "Recovery" else 1)
    done, refusals = split(await asyncio.gather(*calls, return_exceptions=True))
    assert len(done) == 1
    assert [one.reason for one in refusals] == ["GRANT_INVALID" if kind == "Recovery" else "TEMPORARILY_UNAVAILABLE"]
    assert is_grant_invalid(await refusal(flow.choose(confirmed, PASSWORD)))
    assert await suite.accounts() == 1


@pytest.mark.row("M10")
async def test_of_two_who_ask_again_with_one_grant_one_succeeds(suite: Suite) -> None:
    flow = suite.auth.flow("Registration")
    sent = await flow.start()
    async with suite.sql.transaction():
        await suite.sql.execute("SELECT * FROM flow FOR UPDATE")
        calls = [asyncio.create_task(flow.send_again(sent.grant)) for _ in range(2)]
        await suite.until_waiting_for_locks(2)
    done, refusals = split(await asyncio.gather(*calls, return_exceptions=True))
    assert len(done) == 1
    assert [is_grant_invalid(one) for one in refusals] == [True]


@pytest.mark.row("M10")
async def test_a_code_that_was_sent_again_takes_the_place_of_the_older_one(suite: Suite) -> None:
    flow = suite.auth.flow("Registration")
    sent = await flow.start()
    old_code = await suite.code_of(sent.grant)
    again = await flow.send_again(sent.grant)
    assert is_grant_invalid(await refusal(flow.confirm(sent.grant, old_code)))
    code = await suite.code_of(again.grant)
    if old_code != code:
        assert (await refusal(flow.confirm(again.grant, old_code))).reason == "CODE_REJECTED"
    await flow.choose(await flow.confirm(again.grant, code))


@pytest.mark.row("M2")
async def test_a_number_registered_twice_at_once_has_one_account(suite: Suite) -> None:
    flow = suite.auth.flow("Registration")
    grants = [await suite.confirmed("Registration") for _ in range(2)]
    async with suite.sql.transaction():
        await suite.sql.execute("LOCK TABLE identifier IN EXCLUSIVE MODE")
        calls = [asyncio.create_task(flow.choose(grant)) for grant in grants]
        await suite.until_waiting_for_locks(2)
    done, refusals = split(await asyncio.gather(*calls, return_exceptions=True))
    assert done
    assert {one.reason for one in refusals} <= {"TEMPORARILY_UNAVAILABLE", "GRANT_INVALID"}
    assert await suite.accounts() == 1
    assert await suite.sql.fetchval("SELECT count(*) FROM identifier JOIN account USING (account_id)") == 1
    assert (await suite.auth.sign_in()).account_id == done[0].account_id


async def test_a_number_whose_registration_broke_off_is_free_again_when_the_reservation_has_run_out(suite: Suite) -> None:
    confirmed = await suite.confirmed("Registration")
    await suite.sql.execute(
        "INSERT INTO identifier SELECT $1, gen_random_uuid(), clock_timestamp() + interval '60 s'", lookup(suite)
    )
    away = await refusal(suite.auth.flow("Registration").choose(confirmed))
    assert (away.code, away.reason) == ("UNAVAILABLE", "TEMPORARILY_UNAVAILABLE")
    assert (await refusal(suite.auth.sign_in())).reason == "CREDENTIALS_REJECTED", "a reservation is nobody's account"
    await suite.sql.execute("UPDATE identifier SET reserved_until = clock_timestamp()")
    await suite.register()


def lookup(suite: Suite) -> bytes:
    return LookupKey(read_key(suite.keys_dir / "auth-lookup.key")).of(Phone(PHONE))


@pytest.mark.row("M2")
async def test_registering_a_known_number_answers_the_same_and_sets_a_new_password(suite: Suite) -> None:
    flow = suite.auth.flow("Registration")
    first_sent = await flow.start()
    first = await flow.choose(await flow.confirm(first_sent.grant, await suite.code_of(first_sent.grant)))
    sent = await flow.start()
    assert shape(sent) == shape(first_sent)
    second = await flow.choose(await flow.confirm(sent.grant, await suite.code_of(sent.grant)), NEW_PASSWORD)
    assert shape(second) == shape(first)
    assert second.account_id == first.account_id
    assert await suite.accounts() == 1
    assert not await suite.auth.is_active(first.token)
    assert (await refusal(suite.auth.sign_in())).reason == "CREDENTIALS_REJECTED"
    await suite.auth.sign_in(password=NEW_PASSWORD)


@pytest.mark.row("M4")
async def test_a_forgotten_password_is_replaced_with_a_four_digit_code(suite: Suite) -> None:
    old = await suite.register()
    recovery = suite.auth.flow("Recovery")
    sent = await recovery.start("8 916 123 45 67")
    code = await suite.code_of(sent.grant)
    assert len(code) == 4
    session = await recovery.choose(await recovery.confirm(sent.grant, code), NEW_PASSWORD)
    assert session.account_id == old.account_id
    assert await suite.auth.is_active(session.token)
    assert not await suite.auth.is_active(old.token), "all other sessions have ended"
    assert (await refusal(suite.auth.sign_in())).reason == "CREDENTIALS_REJECTED"
    await suite.auth.sign_in(password=NEW_PASSWORD)
    assert await suite.lockout_sql.fetchval("SELECT epoch FROM subject") == 2


@pytest.mark.row("M4")
async def test_a_code_allows_three_tries_and_then_is_dead(suite: Suite) -> None:
    await suite.register()
    recovery = suite.auth.flow("Recovery")
    sent = await recovery.start()
    code = await suite.code_of(sent.grant)
    wrong = f"{(int(code) + 1) % 10_000:04d}"
    refusals = [await refusal(recovery.confirm(sent.grant, wrong)) for _ in range(3)]
    assert [(one.code, one.reason, one.metadata) for one in refusals] == [
        ("UNAUTHENTICATED", "CODE_REJECTED", {"tries_left": left}) for left in "210"
    ]
    dead = await refusal(recovery.confirm(sent.grant, code))
    assert (dead.code, dead.reason) == ("FAILED_PRECONDITION", "CODE_DEAD")


@pytest.mark.row("M4")
async def test_a_recovery_of_a_number_that_nobody_has_looks_the_same_and_leads_nowhere(suite: Suite) -> None:
    await suite.register()
    recovery = suite.auth.flow("Recovery")
    known, unknown = await recovery.start(), await recovery.start(UNKNOWN_PHONE)
    assert shape(known) == shape(unknown)
    assert (known.digits, len(known.grant)) == (unknown.digits, len(unknown.grant))
    code = await suite.code_of(known.grant)
    wrong = f"{(int(code) + 1) % 10_000:04d}"
    for _ in range(4):
        at_known = await refusal(recovery.confirm(known.grant, wrong))
        assert at_known == await refusal(recovery.confirm(unknown.grant, code)), "whatever is entered"
    assert at_known.reason == "CODE_DEAD"
    issued = "SELECT count(*) FILTER (WHERE type = 'DecoyIssued') = 1 FROM event WHERE version = 1 AND type <> 'OtpRefused'"
    assert await suite.otp_sql.fetchval(issued), "nobody is sent anything"
    assert await suite.accounts() == 1


@pytest.mark.row("M7")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_password_against_the_policy_names_the_rules_and_keeps_the_grant(suite: Suite, kind: str) -> None:
    if kind == "Recovery":
        await suite.register()
    flow, confirmed = suite.auth.flow(kind), await suite.confirmed(kind)
    for password, rules in (("short", "length,digit,upper_case"), ("Йцукен123", "common"), ("no-digit-In-it", "digit")):
        refused = await refusal(flow.choose(confirmed, password))
        assert (refused.code, refused.reason, refused.metadata) == (
            "INVALID_ARGUMENT", "PASSWORD_POLICY", {"failed_rules": rules},
        )  # fmt: skip
        assert list(refused.violations) == ["password"]
        assert password.encode() not in refused.raw
    await flow.choose(confirmed, NEW_PASSWORD)


async def test_a_cool_down_passes_through_with_its_time(start: StartSuite) -> None:
    suite = await start(otp={"cool_down_s": 30})
    flow = suite.auth.flow("Registration")
    await flow.start()
    refused = await refusal(flow.start())
    assert (refused.code, refused.reason) == ("RESOURCE_EXHAUSTED", "COOL_DOWN")
    assert refused.retry_s is not None
    assert 25 <= refused.retry_s <= 30
    await flow.start(OTHER_PHONE)


async def test_a_flow_belongs_to_the_account_that_the_number_had_when_it_began(suite: Suite) -> None:
    first = await suite.register()
    confirmed = await suite.confirmed("Recovery")
    other = await suite.register(OTHER_PHONE)
    move = "UPDATE identifier SET account_id = $1 WHERE lookup = $2"
    await suite.sql.execute(move, UUID(other.account_id), lookup(suite))
    assert is_grant_invalid(await refusal(suite.auth.flow("Recovery").choose(confirmed, NEW_PASSWORD)))
    await suite.sql.execute(move, UUID(first.account_id), lookup(suite))  # no event moves a number yet
    assert await suite.auth.is_active(other.token)
    assert len(await suite.kinds(other.account_id)) == 2


@pytest.mark.row("M4")
async def test_of_two_confirmed_recoveries_only_the_first_sets_a_password(suite: Suite) -> None:
    await suite.register()
    older = await suite.confirmed("Recovery")
    session = await suite.recover()
    assert is_grant_invalid(await refusal(suite.auth.flow("Recovery").choose(older, "Thief-Password-1")))
    assert await suite.auth.is_active(session.token)


@pytest.mark.row("M2")
async def test_of_two_confirmed_registrations_of_a_new_number_only_the_first_sets_a_password(suite: Suite) -> None:
    older, newer = [await suite.confirmed("Registration") for _ in range(2)]
    flow = suite.auth.flow("Registration")
    session = await flow.choose(newer)
    assert is_grant_invalid(await refusal(flow.choose(older, "Thief-Password-1")))
    assert await suite.auth.is_active(session.token)
    await suite.auth.sign_in()
