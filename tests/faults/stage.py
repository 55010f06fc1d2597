"""The whole stack with replicas, its load, and the moment at which all is quiet."""

import asyncio
from pathlib import Path

import asyncpg
import grpc
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from devstack.handsets import Handsets, HandsetsUnavailable
from devstack.stack import Stack
from devstack.wiring import ROLES, SERVICES, Role, replicated
from services.chassis.postgres import AWAY
from services.chassis.streams import AUTH_EVENTS, LOCKOUT_EVENTS, NOTIFIER_EVENTS, OTP_EVENTS
from services.lockout.topics import LIMITS, LIMITS_APP, OUTCOMES_APP
from tests.faults.others import trace_folder

SWEEP_AGE_S = 5.0
# What stands still for so long has outlived its outcomes, its leases, its transactions and its place in a Faust group.
LONG_PAUSE_S = 6.5
# So long after a code was sent it is said to be underway, whatever is known.
DELIVERY_QUIET_S = 1.0
# So long a number waits that an office is to put on file: a day, else.
OFFICE_DELAY_S = 1.0
# Not how long it may take on a quiet machine, but when waiting longer would tell nothing new.
QUIET_WITHIN_S = 180.0
# Between two looks at what is quiet: longer than the step of a call that nobody waits for.
_STILL_S = 0.5

_TWICE = {("auth", "server"), ("lockout", "server"), ("lockout", "stream"), ("auth", "relay"), ("notifier", "worker")}
# Who reads what (docs/operations.md, Topics).
_GROUPS = {
    "zasov.auth": (LOCKOUT_EVENTS, NOTIFIER_EVENTS),
    "zasov.notifier": (AUTH_EVENTS, OTP_EVENTS, LOCKOUT_EVENTS),
    OUTCOMES_APP: (AUTH_EVENTS,),
    LIMITS_APP: (AUTH_EVENTS, OTP_EVENTS, LIMITS),
}
_PARTITIONS = 4
_SETTINGS: dict[str, dict[str, str]] = {
    "auth": {
        # A light hash: more guesses a second, and so more that a fault can hit.
        "ZASOV_AUTH_ARGON2_MEMORY_KIB": "4096",
        "ZASOV_AUTH_ARGON2_ITERATIONS": "1",
        "ZASOV_AUTH_POSTGRES_COMMAND_TIMEOUT_S": "3",
        "ZASOV_AUTH_NOTICE_LEASE_S": "3",
        "ZASOV_AUTH_DELIVERY_QUIET_S": str(DELIVERY_QUIET_S),
        # One member of staff is at work here, day and night.
        "ZASOV_AUTH_STAFF_DAILY_LIMIT": "1000000",
        "ZASOV_AUTH_OFFICE_DELAY_S": str(OFFICE_DELAY_S),
        "ZASOV_AUTH_OFFICE_LOOK_S": "0.5",
    },
    "otp": {
        "ZASOV_OTP_COOL_DOWN_S": "1",
        "ZASOV_OTP_LEASE_S": "3",
        "ZASOV_OTP_ISSUES_PER_DAY": "1000",
        "ZASOV_OTP_LONGER_AFTER_WRONG": "1000",
        "ZASOV_OTP_LONGEST_AFTER_WRONG": "1000",
        "ZASOV_OTP_REFUSE_AFTER_WRONG": "1000",
        # In a whole run they are wrong more often than a country is in a day.
        "ZASOV_OTP_SPRAY_LONGER_AFTER_WRONG": "100000",
        "ZASOV_OTP_SPRAY_LONGER_AFTER_ISSUED": "100000",
        "ZASOV_OTP_SPRAY_LONGEST_AFTER_ISSUED": "100000",
    },
    "lockout": {
        "ZASOV_LOCKOUT_SWEEP_AGE_S": str(SWEEP_AGE_S),
        "ZASOV_LOCKOUT_SWEEP_EVERY_S": "0.5",
        "ZASOV_LOCKOUT_STREAM_SESSION_TIMEOUT_S": "3",
        "ZASOV_LOCKOUT_POSTGRES_COMMAND_TIMEOUT_S": "3",
        # All these people are of one range, and fail more often than a country does.
        "ZASOV_LOCKOUT_FAILURES_BY_RANGE_BURST": "1000000",
        "ZASOV_LOCKOUT_FAILURES_BY_SYSTEM_BURST": "1000000",
        "ZASOV_LOCKOUT_CODES_BY_RANGE_BURST": "1000000",
        "ZASOV_LOCKOUT_CODES_BY_SYSTEM_BURST": "1000000",
    },
    "notifier": {
        "ZASOV_NOTIFIER_LEASE_S": "4",
        "ZASOV_NOTIFIER_RETRY_MOST_S": "2",
        # Less than a long pause of the SMSC, so that what it holds is in doubt when it goes on.
        "ZASOV_NOTIFIER_SMPP_RESPONSE_TIMEOUT_S": "3",
        "ZASOV_NOTIFIER_INBOUND_LEASE_S": "3",
        "ZASOV_NOTIFIER_INBOUND_PER_HOUR": "1000",
        "ZASOV_NOTIFIER_INBOUND_PER_DAY": "1000",
    },
}
# A back end that finds a restarted server again at once, and goes round all of them.
_CHANNEL = (
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


def new_stack(folder: Path) -> Stack:
    protocol = trace_folder(folder.absolute())
    protocol.mkdir(parents=True)
    traced = {
        service: _SETTINGS[service] | {f"ZASOV_{service.upper()}_PROTOCOL_TRACE": str(protocol)}
        for service in ("auth", "lockout")
    }
    roles = [one for role in ROLES for one in replicated(role, 2 if (role.service, role.role) in _TWICE else 1)]
    return Stack(folder, settings_overrides={**_SETTINGS, **traced}, roles=roles, spare=[third_stream()])


def third_stream() -> Role:
    """A worker that joins, and leaves again."""
    return Role("lockout", "stream", needs_kafka=True, number=3)


def open_channel(stack: Stack) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(stack.at.grpc["auth"], options=_CHANNEL)


async def until_quiet(stack: Stack, within_s: float = QUIET_WITHIN_S) -> list[str]:
    """Returns once nothing is left to do, and nothing has come of what was in hand; after `within_s` seconds what is left."""
    deadline = asyncio.get_running_loop().time() + within_s
    seen = None
    while True:
        before, seen = seen, None
        try:
            left = await _left_to_do(stack)
            if not left:
                # A call may be in a server's hands and in no table: its client has hung up, and it writes its event yet.
                seen = await _events(stack)
                left = [] if seen == before else ["events that were not there before"]
        except (*AWAY, KafkaError, HandsetsUnavailable) as error:
            left = [f"{type(error).__name__}"]
        if not left or asyncio.get_running_loop().time() > deadline:
            return left
        await asyncio.sleep(0.1 if seen is None else _STILL_S)


async def _left_to_do(stack: Stack) -> list[str]:
    left = []
    centre = await Handsets(stack.infra.addresses()["smsc"]["handsets"]).state()
    if centre["undelivered"]:
        left.append(f"{centre['undelivered']} texts and receipts at the SMSC")
    for service in SERVICES:
        connection = await asyncpg.connect(stack.at.databases[service], timeout=5, command_timeout=5)
        try:
            for what, sql in _counts(service):
                if count := await connection.fetchval(sql):
                    left.append(f"{count} {what} in {service}")
        finally:
            await connection.close()
    # Looked at last: a publication that was in flight before has arrived by now.
    return left or await _lag(stack)


async def _events(stack: Stack) -> int:
    """How many there are, but for codes that expire by themselves."""
    count = 0
    for service in SERVICES:
        connection = await asyncpg.connect(stack.at.databases[service], timeout=5, command_timeout=5)
        try:
            count += await connection.fetchval("SELECT count(*) FROM event WHERE type <> 'OtpExpired'")
        finally:
            await connection.close()
    return count


def _counts(service: str) -> list[tuple[str, str]]:
    counts = [("unpublished events", "SELECT count(*) FROM outbox")]
    if service == "auth":
        counts.append(("numbers to be put on file", "SELECT count(*) FROM contact_change WHERE due_at IS NOT NULL"))
        counts.append(("numbers to be re-pointed", "SELECT count(*) FROM identifier_move"))
    if service == "lockout":
        counts.append(("open attempts", "SELECT count(*) FROM attempt"))
    if service == "notifier":
        counts.append(("texts to be obeyed", "SELECT count(*) FROM inbound WHERE state = 'received'"))
        # Of an email no more will be known.
        awaited = "due_at IS NOT NULL OR (state = 'submitted' AND channel <> 'email')"
        counts.append(("messages due", f"SELECT count(*) FROM message WHERE {awaited}"))
    return counts


async def _lag(stack: Stack) -> list[str]:
    """Consumer groups that have not read to the end."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.at.kafka)
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.at.kafka)
    await admin.start()
    await consumer.start()
    try:
        left = []
        for group, topics in _GROUPS.items():
            partitions = [TopicPartition(topic, number) for topic in topics for number in range(_PARTITIONS)]
            ends = await consumer.end_offsets(partitions)
            read = await admin.list_consumer_group_offsets(group, partitions=partitions)
            behind = sum(end - max(0, read[one].offset) for one, end in ends.items())
            if behind:
                left.append(f"{group} is {behind} records behind")
        return left
    finally:
        await consumer.stop()
        await admin.close()
