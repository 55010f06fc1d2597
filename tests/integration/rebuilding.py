"""State tables are nothing but their events, folded (mission row B5): what any test may check at its end."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import asyncpg

import services.auth.rebuild
import services.lockout.rebuild
import services.notifier.rebuild
import services.otp.rebuild
from services.auth.identifiers import LookupKey
from services.auth.vault import Vaults
from services.chassis.postgres import Connection
from services.chassis.rebuild import Projection, Report, compare
from services.chassis.sealing import Seal, read_key


def projection_of(service: str, keys_dir: Path | None = None) -> Projection[Any]:
    """Of auth and otp with their keys."""
    match service, keys_dir:
        case "auth", Path():
            keys = (read_key(keys_dir / f"{name}.key") for name in ("auth-accounts", "auth-lookup"))
            wrapping, lookup = keys
            return services.auth.rebuild.projection(Vaults(wrapping), LookupKey(lookup))
        case "otp", Path():
            return services.otp.rebuild.projection(Seal(read_key(keys_dir / "otp-delivery.key")))
        case "lockout", _:
            return services.lockout.rebuild.projection()
        case "notifier", _:
            return services.notifier.rebuild.projection()
    raise AssertionError("no such service, or no keys for it")


async def report_on(connection: Connection, service: str, keys_dir: Path | None = None) -> Report:
    """What `rebuild` says of what the connection sees, uncommitted work included. Leaves nothing behind."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        return await compare(connection, projection_of(service, keys_dir))
    finally:
        await transaction.rollback()


async def assert_rows_are_their_events(connection: Connection, service: str, keys_dir: Path | None = None) -> None:
    report = await report_on(connection, service, keys_dir)
    assert [one for one in report.tables if one.differing] == []
    outbox = await connection.fetch(
        "SELECT o.id FROM outbox o LEFT JOIN event e USING (stream_id, version) WHERE e.stream_id IS NULL"
    )
    assert not outbox, "what is no event is to be published"


async def assert_found_and_mended(
    rebuild: Callable[[bool], Awaitable[Report]],
    sql: asyncpg.Connection,
    changes: Mapping[str, Sequence[str]],
    columns: str = "*",
) -> None:
    """Each change of a table's rows is found, in that table alone, and put right. columns: what must be as before."""
    assert (await rebuild(False)).is_equal
    for table, table_changes in changes.items():
        look = f"SELECT {columns} FROM {table} ORDER BY 1, 2"
        before = await sql.fetch(look)
        for change in table_changes:
            assert not (await sql.execute(change)).endswith(" 0"), f"changed nothing: {change}"
            doctored = await sql.fetch(look)
            found = await rebuild(False)
            (differing,) = [one for one in found.tables if one.differing]
            assert (differing.table, found.replaced) == (table, False), change
            assert differing.streams, change
            assert await sql.fetch(look) == doctored, "to compare changes nothing"
            mended = await rebuild(True)
            assert mended.replaced
            assert not mended.is_equal, "it says what was found"
            assert await sql.fetch(look) == before, change
            assert (await rebuild(False)).is_equal, change
