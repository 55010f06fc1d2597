"""The canary scan (B2): what is secret or personal occurs nowhere that others read."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer

from devstack import wiring
from devstack.stack import Stack
from devstack.story import PASSWORDS, Story
from tests.e2e.system import System


@pytest.mark.row("B2")
async def test_no_password_code_phone_or_address_leaves_the_places_where_it_belongs(own_system: System) -> None:
    system = own_system
    person = system.subscriber()
    async with system.event_log() as log:
        await Story(person, log, on_step=lambda step: None).play()
    stranger = system.subscriber()
    await stranger.refused("Nobody-knows-me-1")
    canaries = {
        *PASSWORDS, "Nobody-knows-me-1", *person.secrets, person.phone[1:], stranger.phone[1:],
        person.client.ip, stranger.client.ip, person.client.device_id,
    }  # fmt: skip
    assert len(person.secrets) == 4, "two codes, two one-time passwords"
    assert all(len(secret) >= 8 for secret in person.secrets), "a shorter one stands anywhere by chance"
    places = dict(_files(system.stack))
    places |= await _records(system.stack)
    places |= await asyncio.to_thread(_metrics, system.stack)
    places |= await asyncio.to_thread(_dumps, system.stack)
    assert {"kafka", "log", "trace", "metrics", "dump"} <= {name.split(" ")[0] for name in places}
    assert any(b"LoginFailed" in content for name, content in places.items() if name.startswith("kafka"))
    found = [(name, canary) for name, content in places.items() for canary in canaries if canary.encode() in content]
    assert found == []


def test_the_scan_sees_what_it_looks_for(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.log").write_text(json.dumps({"password": PASSWORDS[0]}))
    content = b"".join(content for _, content in _folder("log", tmp_path / "logs"))
    assert PASSWORDS[0].encode() in content


def _files(stack: Stack) -> Iterator[tuple[str, bytes]]:
    yield from _folder("log", stack.state_dir / "logs")
    yield from _folder("trace", stack.at.traces)


def _folder(kind: str, folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        # The SMSC, the handsets and the mail server are the outside world.
        if path.is_file() and not path.name.startswith(("smsc", "mail")):
            yield f"{kind} {path.name}", path.read_bytes()


async def _records(stack: Stack) -> dict[str, bytes]:
    """Every record of every topic: key, value and headers."""
    consumer = AIOKafkaConsumer(
        *(topic.name for topic in wiring.TOPICS), bootstrap_servers=stack.at.kafka, auto_offset_reset="earliest"
    )
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


def _dumps(stack: Stack) -> dict[str, bytes]:
    """Every table of every database as text, as a stolen backup would show them."""

    async def dump(url: str) -> bytes:
        connection = await asyncpg.connect(url)
        try:
            tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            rows = [
                repr(tuple(row.values())).encode()
                for table in tables
                for row in await connection.fetch(f'SELECT * FROM "{table["tablename"]}"')
            ]
            return b"\n".join(rows)
        finally:
            await connection.close()

    return {f"dump {service}": asyncio.run(dump(url)) for service, url in stack.at.databases.items()}
