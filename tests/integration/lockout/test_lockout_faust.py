"""What lockout's Faust apps rest on, in an app as small as can be, on a real Kafka."""

import asyncio
from pathlib import Path
from typing import Any
from uuid import uuid4

import faust
import pytest
from aiokafka import AIOKafkaProducer
from faust.tables.recovery import RebalanceAgain
from faust.types import TP

from devstack.kafka import Topic, create_topics
from services.lockout.faust_apps import new_app
from services.lockout.settings import LockoutSettings
from tests.integration.waiting import until

APP, NUMBERS, TABLE = "app", "numbers", "table"
PARTITIONS = 2
RECORDS = 40


def small_app(bootstrap: str, prefix: str, folder: Path) -> faust.App:
    settings = LockoutSettings(
        postgres_url="postgresql://nowhere", kafka_bootstrap=bootstrap, topic_prefix=prefix,
        stream_partitions=PARTITIONS, stream_session_timeout_s=3,
    )  # fmt: skip
    app = new_app(settings, APP, str(folder))
    app.Table(TABLE, default=float, key_type=bytes, value_type=float, partitions=PARTITIONS)
    return app


async def publish(bootstrap: str, topic: str, numbers: range) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all") as producer:
        for number in numbers:
            await producer.send_and_wait(topic, str(number).encode(), key=b"key", partition=number % PARTITIONS)


@pytest.mark.row("B7")
async def test_an_app_with_a_table_passes_over_nothing_that_it_was_handed_while_it_recovered(
    kafka_bootstrap: str, tmp_path: Path
) -> None:
    prefix = f"test-{uuid4().hex[:12]}."
    app = small_app(kafka_bootstrap, prefix, tmp_path)
    changelog = Topic(f"{prefix}{APP}-{TABLE}-changelog", PARTITIONS, {"cleanup.policy": "compact"})
    await create_topics(kafka_bootstrap, [Topic(prefix + NUMBERS, PARTITIONS), changelog])
    await publish(kafka_bootstrap, prefix + NUMBERS, range(RECORDS))
    # Something to recover: then records are read before Faust looks up where to begin.
    await publish(kafka_bootstrap, changelog.name, range(PARTITIONS))

    seen: list[int] = []
    is_ready = app.tables.recovery.completed

    @app.agent(app.topic(prefix + NUMBERS, key_serializer="raw", value_serializer="raw"), name="numbers")
    async def see(stream: Any) -> None:
        async for event in stream.events():
            await is_ready.wait()  # as one that waits for a busy database: the others are in its queue meanwhile
            seen.append(int(event.value))

    seek = app.consumer.perform_seek

    async def seek_on_a_busy_machine() -> None:
        await seek()
        # Here another thread may get on, and be told what is there to be read.
        await asyncio.sleep(1)

    async def all_are_seen() -> bool:
        return len(seen) >= RECORDS

    app.consumer.perform_seek = seek_on_a_busy_machine
    await app.start()
    try:
        await until("all are seen", all_are_seen)
        assert sorted(seen) == list(range(RECORDS))
    finally:
        await app.stop()


@pytest.mark.row("B7")
async def test_a_recovery_that_a_rebalance_overtakes_begins_anew(tmp_path: Path) -> None:
    app = small_app("127.0.0.1:1", "", tmp_path)
    # As a rebalance leaves them that comes between the looking up of offsets and the seeking.
    offsets = {TP("changelog", 0): 7, TP("changelog", 1): None}
    with pytest.raises(RebalanceAgain):
        await app.tables.recovery._seek_offsets(None, set(offsets), offsets, "active")
