"""Whatever others than the owner of a secret can read of a running system: records, logs, traces, metrics, tables."""

import asyncio
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import asyncpg
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from zasov.auth.v1.token_service_pb2 import IntrospectRequest

from devstack.stack import Stack
from tests.e2e.quiet import quiet
from tests.e2e.system import System, until


async def contents(system: System) -> dict[str, bytes]:
    """By kind and name: "log auth-server.log". Once nothing is under way any more."""
    await quiet(system)
    await _spans_are_written(system)
    stack = system.stack
    found = dict(_files(stack))
    found |= await _records(stack)
    found |= await asyncio.to_thread(_metrics, stack)
    return found | await _dumps(stack)


async def _spans_are_written(system: System) -> None:
    """They are, in order, some time after they have ended: until that of a call which is made now."""
    trace = token_hex(16)
    request, metadata = IntrospectRequest(token="nobody's"), (("traceparent", f"00-{trace}-{token_hex(8)}-01"),)
    await system.back_end.token.Introspect(request, metadata=metadata, timeout=5)
    path = system.stack.at.traces / "auth-server.jsonl"
    await until(lambda: asyncio.to_thread(path.read_text), lambda text: trace in text)


def _files(stack: Stack) -> Iterator[tuple[str, bytes]]:
    yield from folder("log", stack.state_dir / "logs")
    yield from folder("trace", stack.at.traces)


def folder(kind: str, root: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*")):
        # The SMSC, the handsets and the mail server are the outside world.
        if path.is_file() and not path.name.startswith(("smsc", "mail")):
            yield f"{kind} {path.name}", path.read_bytes()


async def _records(stack: Stack) -> dict[str, bytes]:
    """Every record of every topic, Kafka's own ones too: key, value and headers."""
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.at.kafka)
    await admin.start()
    try:
        topics = await admin.list_topics()
    finally:
        await admin.close()
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=stack.at.kafka, auto_offset_reset="earliest")
    await consumer.start()
    found: dict[str, bytes] = {}
    try:
        ends = await consumer.end_offsets(consumer.assignment())
        while any([await consumer.position(partition) < end for partition, end in ends.items()]):
            for partition, records in (await consumer.getmany(timeout_ms=500)).items():
                name = f"kafka {partition.topic}"
                for record in records:
                    parts = [record.key or b"", record.value or b"", *(name.encode() + text for name, text in record.headers)]
                    found[name] = found.get(name, b"") + b"\n".join(parts)
    finally:
        await consumer.stop()
    return found


def _metrics(stack: Stack) -> dict[str, bytes]:
    found = {}
    for name, address in stack.at.metrics.items():
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as response:
            found[f"metrics {name}"] = response.read()
    return found


async def _dumps(stack: Stack) -> dict[str, bytes]:
    """Every table of every database, as a stolen backup would show them."""

    async def dump(url: str) -> bytes:
        connection = await asyncpg.connect(url)
        try:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            rows = [row for table in tables for row in await connection.fetch(f'SELECT * FROM "{table["tablename"]}"')]
            return b"\n".join(_plain(value) for row in rows for value in row.values())
        finally:
            await connection.close()

    return {f"dump {service}": await dump(url) for service, url in stack.at.databases.items()}


def _plain(value: object) -> bytes:
    """A repr would write bytes and foreign letters in another way than they are looked for."""
    if isinstance(value, list):
        return b"\n".join(map(_plain, value))
    return value if isinstance(value, bytes) else str(value).encode()
