"""Offsets of what was handled are committed in the end, though a commit fails and nothing more comes in their partition."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaConnectionError

from services.chassis import streams
from services.chassis.settings import ChassisSettings
from services.chassis.streams import Consumer

pytestmark = pytest.mark.row("B7")

ONE, OTHER = TopicPartition("events.v1", 0), TopicPartition("events.v1", 1)


class FakeKafka:
    """One record in each of two partitions, and then no more. Commits as aiokafka does: all of it or nothing."""

    def __init__(self) -> None:
        self.assigned = {ONE, OTHER}
        self.committed: dict[TopicPartition, int] = {}
        self.commits = 0
        self.has_committed = asyncio.Event()
        self.failing = 0  # commits that are to fail yet
        self.leaving: set[TopicPartition] = set()  # partitions that go elsewhere while their record is handled
        self._left = {partition: _record(partition) for partition in self.assigned}

    def assignment(self) -> frozenset[TopicPartition]:
        return frozenset(self.assigned)

    async def getmany(self, *partitions: TopicPartition, **_: Any) -> dict[TopicPartition, list[ConsumerRecord]]:
        await asyncio.sleep(0)
        self.assigned -= self.leaving
        return {one: [self._left.pop(one)] for one in partitions if one in self._left}

    async def commit(self, offsets: dict[TopicPartition, int]) -> None:
        self.commits += 1
        if self.failing:
            self.failing -= 1
            raise KafkaConnectionError
        if not offsets.keys() <= self.assigned:
            raise IllegalStateError
        self.committed |= offsets
        self.has_committed.set()


def _record(partition: TopicPartition) -> ConsumerRecord:
    return ConsumerRecord(*partition, 7, 0, 0, None, None, None, -1, 0, ())


@asynccontextmanager
async def consuming(kafka: FakeKafka, settings: ChassisSettings) -> AsyncIterator[None]:
    consumer = Consumer(settings, "group", {}, dead_letter=None)  # type: ignore[arg-type]
    work = asyncio.create_task(consumer._consume(kafka))  # type: ignore[arg-type]
    try:
        yield
    finally:
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> ChassisSettings:
    """Often enough for a test."""
    monkeypatch.setattr(streams, "_COMMIT_INTERVAL_S", 0.05)
    return ChassisSettings(postgres_url="postgresql://nowhere/none")


async def test_a_partition_that_went_elsewhere_takes_no_other_offset_with_it(settings: ChassisSettings) -> None:
    """Else a group that has read everything is told to be behind until another record comes there."""
    kafka = FakeKafka()
    kafka.leaving = {OTHER}
    async with consuming(kafka, settings):
        await asyncio.wait_for(kafka.has_committed.wait(), 5)
    assert kafka.committed == {ONE: 8}


async def test_what_could_not_be_committed_is_committed_when_kafka_is_back(settings: ChassisSettings) -> None:
    kafka = FakeKafka()
    kafka.failing = 2
    async with consuming(kafka, settings):
        await asyncio.wait_for(kafka.has_committed.wait(), 5)
    assert kafka.committed == {ONE: 8, OTHER: 8}
    assert kafka.commits == 3
