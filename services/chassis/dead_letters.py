"""Where records go that no retry would make readable: as they were, with headers that say whence."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

from services.chassis import metrics
from services.chassis.settings import ChassisSettings
from services.chassis.streams import DeadLetter, until_kafka_answers, whence
from services.chassis.telemetry import error_name, logger


@asynccontextmanager
async def dead_letters(settings: ChassisSettings, topic: str) -> AsyncIterator[DeadLetter]:
    """What returns when Kafka has the record: only then may it be passed over."""
    producer: AIOKafkaProducer | None = None

    async def started() -> AIOKafkaProducer:
        nonlocal producer
        if producer is None:
            made = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap, enable_idempotence=True, acks="all")
            await until_kafka_answers(made.start)
            producer = made
        return producer

    async def put(record: ConsumerRecord, reason: str) -> None:
        headers = whence(record, record.headers, reason)
        while True:
            try:
                await (await started()).send_and_wait(
                    settings.topic_prefix + topic, value=record.value, key=record.key, headers=headers
                )
                break
            except KafkaError as error:
                logger().warning("dead letter not taken; trying again", error=error_name(error))
                await asyncio.sleep(0.5)
        metrics.DEAD_LETTERS.inc()
        logger().error("dead letter", topic=record.topic, partition=record.partition, offset=record.offset)

    try:
        yield put
    finally:
        if producer is not None:
            await producer.stop()
