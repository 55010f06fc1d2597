"""Kafka loses everything and is filled again from the event stores; what was done is not done again (mission row B5)."""

import asyncio
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest

from devstack import wiring
from devstack.event_log import EventLog
from devstack.stack import Stack
from devstack.subscriber import Subscriber
from tests.e2e.quiet import quiet
from tests.e2e.system import NEW_PASSWORD, PASSWORD, WRONG, System, until

pytestmark = pytest.mark.row("B5")

READERS = ("auth-worker", "lockout-stream", "notifier-worker")


@pytest.fixture(scope="module")
def stack_of_this_test(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Its own, so that nothing of another test's still happens while tables are compared."""
    overrides = {"otp": {"ZASOV_OTP_COOL_DOWN_S": "1"}, "lockout": {"ZASOV_LOCKOUT_SWEEP_AGE_S": "20"}}
    with Stack(tmp_path_factory.mktemp("refill"), settings_overrides=overrides) as running:
        yield running


@pytest.fixture
async def system(stack_of_this_test: Stack) -> AsyncIterator[System]:
    stack = stack_of_this_test
    async with System(stack) as system:
        yield system


async def live(system: System) -> list[Subscriber]:
    """Everything that leaves a trace: blocked and freed, struck, blocked still, changed, unknown; from one address, too."""
    freed, _ = await system.registered()
    await freed.sign_in(PASSWORD)
    for _ in range(3):
        await freed.refused(WRONG)
    await freed.next_message()
    await freed.recover(NEW_PASSWORD)
    await freed.next_message()
    struck, _ = await system.registered()
    for _ in range(2):
        await struck.refused(WRONG)
    blocked, _ = await system.registered()
    for _ in range(3):
        await blocked.refused(WRONG)
    await blocked.next_message()
    changed, _ = await system.registered()
    session = await changed.sign_in(PASSWORD)
    await system.back_end.change_password(session.token, PASSWORD, NEW_PASSWORD, changed.client)
    await changed.next_message()
    unknown = [system.subscriber() for _ in range(6)]
    for one in unknown:
        one.client = unknown[0].client
        await one.refused(WRONG)
        await one.refused(WRONG)
        await system.back_end.start_recovery(one.phone, one.client)
    return [freed, struck, blocked, changed, *unknown]


async def tables(system: System) -> dict[str, list[str]]:
    """All rows of all tables, as text. A request for a refill is no state, and a beat is the stream's pulse."""
    found = {}
    for service in wiring.SERVICES:
        names = await system.query(service, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
        for (name,) in names:
            if name not in ("republication", "stream_beat"):
                rows = await system.query(service, f"SELECT t::text AS row FROM {name} t ORDER BY 1")
                found[f"{service}.{name}"] = [row["row"] for row in rows]
    return found


async def in_kafka(system: System, *, wanted: dict[str, int]) -> dict[str, list[bytes]]:
    """By stream, in order, once by event id. wanted: how many different events a topic has at the end."""
    async with EventLog(system.stack.at.kafka, from_start=True) as log:
        seen: dict[str, Any] = {}

        async def distinct() -> int:
            for arrival in log.arrivals:
                seen.setdefault(arrival.meta.event_id, arrival)
            return len(seen)

        await until(distinct, lambda number: number >= sum(wanted.values()), timeout=60)
        await asyncio.sleep(1)
        await distinct()
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    for arrival in seen.values():
        # An account's id is the id of two streams.
        found[f"{arrival.meta.DESCRIPTOR.name} {type(arrival.payload).__module__} {arrival.meta.stream_id}"].append(arrival.raw)
    return dict(found)


async def in_stores(system: System) -> tuple[dict[str, list[bytes]], dict[str, int]]:
    found: defaultdict[str, list[bytes]] = defaultdict(list)
    numbers = {}
    for service in wiring.SERVICES:
        rows = await system.query(service, "SELECT stream_id, data FROM event WHERE is_public ORDER BY stream_id, version")
        numbers[service] = len(rows)
        for row in rows:
            found[f"EventMeta zasov.events.v1.{service}_event_pb2 {row['stream_id']}"].append(row["data"])
    return dict(found), numbers


def command(system: System, service: str, *words: str) -> subprocess.CompletedProcess[str]:
    """An operator's command, as a process of its own."""
    role = next(role for role in wiring.ROLES if role.service == service)
    env = dict(os.environ) | system.stack.environment_of(role)
    argv = [sys.executable, "-m", f"services.{service}", *words]
    return subprocess.run(argv, capture_output=True, text=True, env=env, timeout=90, check=False)


async def run_everywhere(system: System, *words: str) -> None:
    done = await asyncio.gather(*(asyncio.to_thread(command, system, service, *words) for service in wiring.SERVICES))
    assert [one.returncode for one in done] == [0] * 4, "\n".join(one.stdout + one.stderr for one in done)


async def lose_kafka(system: System) -> None:
    """The broker with all its data; and the steps of docs/operations.md that follow."""
    supervisor, kafka = system.stack.supervisor, system.stack.infra.kafka
    supervisor.kill("kafka")
    for reader in READERS:
        await asyncio.to_thread(supervisor.stop, reader)
    await asyncio.to_thread(kafka.lose_everything)
    await run_everywhere(system, "republish", "--no-wait")
    supervisor.restart("kafka")
    await asyncio.to_thread(kafka.wait_ready)
    await asyncio.to_thread(kafka.create_topics, *wiring.TOPICS)
    for reader in READERS:
        supervisor.restart(reader)
    for reader in READERS:
        await asyncio.to_thread(system.stack.wait_role, reader)


async def sms_of(system: System, people: list[Subscriber]) -> list[list[str]]:
    return [[one.text for one in await system.handsets.messages(person.phone)] for person in people]


@pytest.mark.kills
async def test_after_kafka_has_lost_everything_it_is_filled_again_and_nothing_happens_twice(system: System) -> None:
    people = await live(system)
    await quiet(system)
    await run_everywhere(system, "rebuild")
    before, sms = await tables(system), await sms_of(system, people)
    stored, numbers = await in_stores(system)
    assert await in_kafka(system, wanted=numbers) == stored

    await execute(system, "notifier", "TRUNCATE consumer_mark")  # Kafka's offsets are gone anyway
    await lose_kafka(system)
    await quiet(system)
    assert await in_kafka(system, wanted=numbers) == stored, "each public event once by its id, in order of its stream"
    assert await tables(system) == before, "marks and all"
    assert await sms_of(system, people) == sms

    # Once more, with marks, beside readers that are at work, on a Kafka that has lost nothing.
    await run_everywhere(system, "republish")
    await quiet(system)
    assert await in_kafka(system, wanted=numbers) == stored
    assert await tables(system) == before
    assert await sms_of(system, people) == sms
    await run_everywhere(system, "rebuild")
    await still_works(system, people)


async def execute(system: System, service: str, sql: str) -> None:
    connection = await asyncpg.connect(system.stack.at.databases[service])
    await connection.execute(sql)
    await connection.close()


async def still_works(system: System, people: list[Subscriber]) -> None:
    freed, struck, blocked, *_ = people
    await freed.sign_in(NEW_PASSWORD)
    assert (await blocked.refused(PASSWORD)).reason == "SIGN_IN_BLOCKED"
    await struck.refused(WRONG)
    assert "Вход по паролю закрыт" in (await struck.next_message()).text, "the third strike blocks, and is told"
    await blocked.recover(NEW_PASSWORD)
    await blocked.next_message()
