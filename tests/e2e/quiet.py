"""When what was begun has come to its end."""

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from devstack import wiring
from services.chassis import streams
from services.lockout import topics as lockout_topics
from tests.e2e.system import System, until

_GROUPS = {
    "zasov.auth": [streams.LOCKOUT_EVENTS],
    "zasov.notifier": [streams.AUTH_EVENTS, streams.OTP_EVENTS, streams.LOCKOUT_EVENTS],
    lockout_topics.OUTCOMES_APP: [streams.AUTH_EVENTS],
    lockout_topics.LIMITS_APP: [streams.AUTH_EVENTS, streams.OTP_EVENTS, lockout_topics.LIMITS],
}


async def quiet(system: System) -> None:
    """Until nothing is under way any more: all is published, consumed, settled, sent and reported.

    Of an email that is sent no more will be known.
    """

    async def busy() -> list[str]:
        found = []
        for service in wiring.SERVICES:
            left = [await _count(system, service, what) for what in ("outbox", "republication WHERE finished_at IS NULL")]
            if any(left):
                found.append(f"{service} publishes")
        if await _count(system, "lockout", "attempt"):
            found.append("open attempts")
        if await _count(system, "notifier", "message WHERE due_at IS NOT NULL OR (state = 'submitted' AND channel <> 'email')"):
            found.append("messages under way")
        return found or await _lagging(system)

    await until(busy, lambda found: found == [], timeout=90)


async def _lagging(system: System) -> list[str]:
    """Groups that have not committed all that their topics hold."""
    admin = AIOKafkaAdminClient(bootstrap_servers=system.stack.at.kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=system.stack.at.kafka)
    await admin.start()
    await consumer.start()
    try:
        found = []
        for group, names in _GROUPS.items():
            partitions = [TopicPartition(name, number) for name in names for number in range(wiring.PARTITIONS)]
            ends = await consumer.end_offsets(partitions)
            done = await admin.list_consumer_group_offsets(group, partitions=partitions)
            found += [group for one in partitions if ends[one] and done[one].offset < ends[one]]
        return sorted(set(found))
    finally:
        await consumer.stop()
        await admin.close()


async def _count(system: System, service: str, what: str) -> int:
    return int((await system.query(service, f"SELECT count(*) AS n FROM {what}"))[0]["n"])
