"""What `rebuild` covers: every table of every service is either made of events, or listed with the reason why it isn't."""

import importlib
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest

import services.chassis
from services.chassis.keys import make_keys
from tests.integration.databases import Databases
from tests.integration.rebuilding import projection_of

# The history itself, and what is about its way to Kafka.
_STORE = {"event", "outbox", "republication", "migration"}


@pytest.mark.row("B5")
@pytest.mark.parametrize("service", ["auth", "otp", "lockout", "notifier"])
async def test_every_table_is_rebuilt_or_listed_with_a_reason(service: str, databases: Databases, tmp_path: Path) -> None:
    make_keys(tmp_path, datetime.now(UTC))
    projection = projection_of(service, tmp_path)
    with databases.borrowed(services.chassis, importlib.import_module(f"services.{service}")) as url:
        connection = await asyncpg.connect(url)
        tables = {row[0] for row in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        columns = {table.name: {row[0] for row in await connection.fetch(_COLUMNS, table.name)} for table in projection.tables}
        await connection.close()
    rebuilt = {table.name for table in projection.tables}
    listed = {name for name in projection.not_rebuilt if "." not in name}
    assert tables - _STORE == rebuilt | listed
    assert not rebuilt & listed
    for table in projection.tables:
        assert table.key == table.columns[: len(table.key)] or set(table.key) < set(table.columns)
        left_out = columns[table.name] - set(table.columns)
        assert left_out == _LEASES.get(table.name, set()), "a column that no event gives is a lease: say so here, and there"


_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_name = $1 AND table_schema = 'public'"
_LEASES = {"challenge": {"tries", "other_tries"}, "message": {"tries", "due_at", "lease", "reported", "traceparent"}}
