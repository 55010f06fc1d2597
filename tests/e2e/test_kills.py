"""Parts are killed in the middle of the story, and it still ends right."""

import asyncio

import pytest
from zasov.events.v1.lockout_event_pb2 import LockoutEvent

from services.chassis.errors import ServiceError
from tests.e2e.system import NEW_PASSWORD, PASSWORD, WRONG, System, until

pytestmark = pytest.mark.kills


@pytest.mark.row("M3")
@pytest.mark.row("M4")
@pytest.mark.parametrize(
    "victim", ["auth-relay", "otp-relay", "lockout-relay", "lockout-stream", "notifier-worker", "auth-worker", "kafka"]
)
async def test_the_story_ends_right_though_a_part_is_killed_in_the_middle(own_system: System, victim: str) -> None:
    system = own_system
    person, account_id = await system.registered()
    assert (await person.refused(WRONG)).reason == "CREDENTIALS_REJECTED"
    system.stack.supervisor.kill(victim)
    # Sign-in and the limit of three need PostgreSQL alone (B7).
    assert [(await person.refused(WRONG)).reason for _ in range(2)] == ["CREDENTIALS_REJECTED"] * 2
    fourth = await person.refused(PASSWORD)
    assert fourth.reason in ("SIGN_IN_BLOCKED", "TEMPORARILY_UNAVAILABLE"), "three places were taken"
    sent = await system.back_end.start_recovery(person.phone, person.client)
    system.stack.supervisor.restart(victim)

    code = await person.read_code(timeout=60)
    blocked = await until(lambda: system.status(account_id), lambda status: status.HasField("blocked_at"), timeout=60)
    assert blocked.strikes == 3
    assert (await person.refused(PASSWORD)).reason == "SIGN_IN_BLOCKED"
    grant = await system.back_end.confirm_recovery(sent.grant, code, person.client)
    await system.back_end.choose_recovery_password(grant, NEW_PASSWORD, person.client)
    await person.sign_in(NEW_PASSWORD)
    assert await _strikes(system, account_id) == ["1", "2", "3"]


@pytest.mark.row("B7")
async def test_without_kafka_sign_in_goes_on_and_a_code_leaves_when_kafka_is_back(own_system: System) -> None:
    system = own_system
    person, account_id = await system.registered()
    system.stack.supervisor.kill("kafka")
    await person.sign_in(PASSWORD)
    answers = [(await person.refused(WRONG)).reason for _ in range(4)]
    assert answers[:3] == ["CREDENTIALS_REJECTED"] * 3
    assert answers[3] in ("TEMPORARILY_UNAVAILABLE", "SIGN_IN_BLOCKED")
    assert (await system.history(account_id)).count("LoginFailed") == 3
    await system.back_end.start_recovery(person.phone, person.client)
    assert len(await system.handsets.messages(person.phone)) == 1, "the code of the registration"
    # What a relay holds in memory for Kafka goes with it; what Kafka has not acknowledged must still be in the outbox.
    for relay in ("auth-relay", "otp-relay"):
        system.stack.supervisor.kill(relay)
        system.stack.supervisor.restart(relay)
    system.stack.supervisor.restart("kafka")
    assert await person.read_code(timeout=60)
    assert (await until(lambda: system.status(account_id), lambda status: status.strikes == 3, timeout=60)).blocked_at
    outbox = lambda: system.query("auth", "SELECT count(*) AS n FROM outbox")  # noqa: E731
    await until(outbox, lambda rows: rows[0]["n"] == 0, timeout=60)


@pytest.mark.row("M21")
async def test_without_postgresql_calls_are_unavailable_and_healthy_again_by_themselves(own_system: System) -> None:
    system = own_system
    person, account_id = await system.registered()
    system.stack.supervisor.kill("postgres")
    away = await person.refused(PASSWORD)
    assert (away.code.name, away.reason) == ("UNAVAILABLE", "TEMPORARILY_UNAVAILABLE")
    assert away.retry_after is not None
    system.stack.supervisor.restart("postgres")
    refusal = lambda: person.refused(PASSWORD)  # noqa: E731
    await until(refusal, lambda error: error is None, timeout=60)
    assert "LoginFailed" not in await system.history(account_id)
    # Streams, relays and the notifier too: a wrong password becomes a strike, a code arrives.
    await person.refused(WRONG)
    await until(lambda: system.status(account_id), lambda status: status.strikes == 1, timeout=60)
    await person.recover(NEW_PASSWORD)


@pytest.mark.row("M21")
async def test_a_server_that_is_told_to_stop_answers_what_it_has_begun(own_system: System) -> None:
    system = own_system
    person, account_id = await system.registered()
    answers = asyncio.gather(*(person.refused(PASSWORD) for _ in range(12)))
    await until(lambda: system.status(account_id), lambda status: status.open_attempts > 0)
    await asyncio.to_thread(system.stack.supervisor.stop, "auth-server")
    refusals: list[ServiceError | None] = await answers
    signed_in = refusals.count(None)
    assert signed_in > 0
    assert all(error.code.name == "UNAVAILABLE" for error in refusals if error)
    status = await system.status(account_id)
    assert (status.open_attempts, status.strikes) == (0, 0)
    assert (await system.history(account_id)).count("LoginSucceeded") == signed_in
    system.stack.supervisor.restart("auth-server")
    await asyncio.to_thread(system.stack.wait_role, "auth-server")


async def _strikes(system: System, account_id: object) -> list[str]:
    """What the account's StrikeRecorded events count, in order."""
    rows = await system.query(
        "lockout", "SELECT data FROM event WHERE stream_id = $1 AND type = 'StrikeRecorded' ORDER BY version", account_id
    )
    return [str(LockoutEvent.FromString(row["data"]).strike_recorded.strikes) for row in rows]
