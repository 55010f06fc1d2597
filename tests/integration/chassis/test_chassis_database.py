"""What every connection to PostgreSQL is told: that a process which is lost or stands still keeps nothing from others."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

import services.chassis
from services.chassis.postgres import AWAY, Database, connect_directly, migrate, open_database
from services.chassis.settings import ChassisSettings
from services.chassis.streams import advance_mark
from tests.integration.databases import Databases

# Seconds, seconds, how many, milliseconds. A connection over a socket file says 0 to all of them.
LOST_CLIENT = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25000",
}


@pytest.fixture
def settings(databases: Databases) -> Iterator[ChassisSettings]:
    with databases.borrowed(services.chassis) as url:
        yield ChassisSettings(postgres_url=url)


@pytest.fixture
async def database(settings: ChassisSettings) -> AsyncIterator[Database]:
    async with open_database(settings) as database:
        yield database


@pytest.mark.row("B7")
async def test_a_client_whose_machine_was_lost_is_noticed_within_half_a_minute(
    settings: ChassisSettings, database: Database
) -> None:
    """Else its relay stays the only one for hours."""
    assert {name: await database.fetch_value(f"SHOW {name}") for name in LOST_CLIENT} == LOST_CLIENT
    direct = await connect_directly(settings)
    assert {name: await direct.fetchval(f"SHOW {name}") for name in LOST_CLIENT} == LOST_CLIENT
    await direct.close()


@pytest.mark.row("B7")
async def test_a_process_that_stands_still_within_a_transaction_gives_its_locks_up(database: Database) -> None:
    """And when it goes on it learns that the database was away, which each of our loops outlives."""
    stream = UUID(int=1)
    async with database.connection() as paused, database.connection() as other:
        await paused.execute("BEGIN")
        assert await advance_mark(paused, "one", stream, 1)
        time.sleep(3.5)  # noqa: ASYNC251  # as SIGSTOP does it: nothing of the process runs, its event loop neither
        assert await advance_mark(other, "one", stream, 1), "what the paused one did was undone"
        with pytest.raises(AWAY):
            await advance_mark(paused, "one", stream, 2)


async def test_an_argument_that_does_not_fit_is_a_bug_and_no_outage(database: Database) -> None:
    """As asyncpg really tells it, for it has two classes of the name DataError."""
    for sql, argument in (("SELECT $1::int", 2**40), ("SELECT $1::uuid", "x"), ("SELECT 1 / $1::int", 0)):
        with pytest.raises(asyncpg.DataError) as met:
            await database.fetch_value(sql, argument)
        assert not isinstance(met.value, AWAY)


async def test_a_migration_takes_as_long_as_it_takes_and_another_migrator_waits_for_it(
    database_url: str, tmp_path: Path
) -> None:
    settings, folder = (
        ChassisSettings(postgres_url=database_url, postgres_command_timeout_s=0.3),
        tmp_path / "service" / "migrations",
    )
    folder.mkdir(parents=True)
    (folder / "0001_first.sql").write_text("CREATE TABLE one (id int); SELECT pg_sleep(1);")
    applied = await asyncio.gather(*(migrate(settings, [folder]) for _ in range(3)))
    assert sorted(applied) == [[], [], ["service/0001_first.sql"]]


async def test_a_migration_that_was_changed_after_it_had_been_applied_is_an_error(database_url: str, tmp_path: Path) -> None:
    settings, folder = ChassisSettings(postgres_url=database_url), tmp_path / "service" / "migrations"
    folder.mkdir(parents=True)
    (folder / "0001_first.sql").write_text("CREATE TABLE one (id int);")
    assert await migrate(settings, [folder]) == ["service/0001_first.sql"]
    assert await migrate(settings, [folder]) == [], "applied once"
    (folder / "0001_first.sql").write_text("CREATE TABLE one (id bigint);")
    with pytest.raises(RuntimeError, match=r"0001_first\.sql was changed"):
        await migrate(settings, [folder])
