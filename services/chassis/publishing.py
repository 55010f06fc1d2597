"""From a row of the event store to a record in Kafka: the same bytes, key and headers, whenever it is published.

But for one header on what is published again: who counts what happens just now must not count it twice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg
from aiokafka import AIOKafkaProducer

from services.chassis.settings import ChassisSettings
from services.chassis.streams import REPUBLISHED, headers_of

# What a record is made of; `e` is the event's row.
RECORD = "e.stream_id, e.version, e.event_id, e.type, e.occurred_at, e.data, e.traceparent"


@dataclass(frozen=True)
class Publisher:
    """Writes rows to one topic. envelope: names its message type."""

    producer: AIOKafkaProducer
    service: str
    topic: str
    envelope: str

    async def publish(self, rows: Sequence[asyncpg.Record], *, again: bool = False) -> None:
        """Returns when Kafka has acknowledged them all. Raises KafkaError: any of them may be there."""
        extra = [(REPUBLISHED, b"true")] if again else []
        sent = [
            await self.producer.send(
                self.topic,
                value=row["data"],
                key=str(row["stream_id"]).encode(),
                headers=headers_of(
                    self.service, self.envelope, row["event_id"], row["type"], row["stream_id"], row["occurred_at"],
                    row["traceparent"],
                )
                + extra,
            )
            for row in rows
        ]  # fmt: skip
        await asyncio.gather(*sent)


def new_producer(settings: ChassisSettings) -> AIOKafkaProducer:
    return AIOKafkaProducer(
        bootstrap_servers=settings.kafka_bootstrap,
        enable_idempotence=True,
        acks="all",
        linger_ms=0,
        request_timeout_ms=10_000,
        retry_backoff_ms=50,
        metadata_max_age_ms=60_000,
    )
