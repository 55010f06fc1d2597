"""Where records go that no retry would make readable: as they were, with a header that says why."""

import asyncio

from aiokafka import AIOKafkaProducer, ConsumerRecord
from aiokafka.errors import KafkaError

from services.chassis.settings import ChassisSettings
from services.chassis.streams import Poison, until_kafka_answers
from services.chassis.telemetry import error_name, logger
from services.notifier import metrics, planner

DEAD_LETTERS = "zasov.notifier.deadletters.v1"


class DeadLetters:
    def __init__(self, settings: ChassisSettings) -> None:
        self._settings = settings
        self._producer: AIOKafkaProducer | None = None

    async def put(self, record: ConsumerRecord) -> None:
        """Returns when Kafka has it: only then may the record be passed over."""
        topic = record.topic.removeprefix(self._settings.topic_prefix)
        headers = [
            *record.headers,
            ("zasov-reason", _reason(topic, record).encode()),
            ("zasov-topic", record.topic.encode()),
            ("zasov-offset", f"{record.partition}:{record.offset}".encode()),
        ]
        while True:
            try:
                producer = await self._started()
                await producer.send_and_wait(
                    self._settings.topic_prefix + DEAD_LETTERS, value=record.value, key=record.key, headers=headers
                )
                break
            except KafkaError as error:
                logger().warning("dead letter not taken; trying again", error=error_name(error))
                await asyncio.sleep(0.5)
        metrics.DEAD_LETTERS.inc()
        logger().error("dead letter", topic=topic, partition=record.partition, offset=record.offset)

    async def close(self) -> None:
        if self._producer is not None:
            await self._producer.stop()

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._settings.kafka_bootstrap, enable_idempotence=True, acks="all", request_timeout_ms=10_000
            )
            await until_kafka_answers(producer.start)
            self._producer = producer
        return self._producer


def _reason(topic: str, record: ConsumerRecord) -> str:
    """Reading is pure: read again, it fails for the same reason."""
    try:
        planner.read(topic, record)
    except Poison as error:
        return str(error)
    return "unknown"
