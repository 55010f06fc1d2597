"""Reading all that a topic holds, from its beginning, beside whoever else reads it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition


class Reader:
    """Collects records as they come."""

    def __init__(self, consumer: AIOKafkaConsumer) -> None:
        self._consumer = consumer
        self.records: list[ConsumerRecord] = []

    async def until(self, enough: Callable[[list[ConsumerRecord]], object], timeout_s: float = 20.0) -> list[ConsumerRecord]:
        """All records so far, as soon as they are enough."""
        try:
            async with asyncio.timeout(timeout_s):
                while not enough(self.records):
                    for records in (await self._consumer.getmany(timeout_ms=200)).values():
                        self.records += records
        except TimeoutError:
            raise AssertionError(f"not enough within {timeout_s:g} s: {len(self.records)} records") from None
        return self.records


@asynccontextmanager
async def reading(bootstrap: str, topic: str, partitions: int) -> AsyncIterator[Reader]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=20)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, number) for number in range(partitions)])
        yield Reader(consumer)
    finally:
        await consumer.stop()
