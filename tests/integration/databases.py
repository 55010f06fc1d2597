"""Databases that are migrated already. Making and dropping one costs a third of a second, emptying one a twentieth of that."""

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import asyncpg

from services.chassis.postgres import migrate
from services.chassis.settings import ChassisSettings

_LARGE_BYTES = 64 * 1024
# A table is truncated only if it is large: that makes new files for it and for each of its indexes, and costs three times as
# much as to delete the few rows that a test leaves. Triggers that refuse that are not asked.
_EMPTY = f"""
DO $$ DECLARE one record; BEGIN
    PERFORM pg_terminate_backend(pid, 5000) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid();
    SET LOCAL session_replication_role = replica;
    FOR one IN SELECT name, pg_relation_size(name) AS size FROM (
        SELECT format('public.%I', tablename) AS name FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'migration'
    ) t LOOP
        IF one.size > {_LARGE_BYTES} THEN
            EXECUTE 'TRUNCATE ' || one.name || ' CASCADE';
        ELSIF one.size > 0 THEN
            EXECUTE 'DELETE FROM ' || one.name;
        END IF;
    END LOOP;
    PERFORM setval(format('%I.%I', schemaname, sequencename), start_value, false) FROM pg_sequences
        WHERE last_value IS NOT NULL;
END $$
"""


class Databases:
    """Lends them. Callable from tests with or without an event loop of their own."""

    def __init__(self, postgres_url: str) -> None:
        self._postgres_url = postgres_url
        self._idle: defaultdict[tuple[str, ...], list[str]] = defaultdict(list)

    @contextmanager
    def borrowed(self, *packages: ModuleType) -> Iterator[str]:
        """URL of an empty database with the migrations of these packages, for this borrower alone."""
        idle = self._idle[tuple(package.__name__ for package in packages)]
        url = idle.pop() if idle else self._make(*packages)
        yield url
        _run(_execute(url, _EMPTY))
        idle.append(url)

    def drop_all(self) -> None:
        for url in (url for idle in self._idle.values() for url in idle):
            _run(_execute(self._postgres_url, f"DROP DATABASE {url.rpartition('/')[2]} WITH (FORCE)"))

    def _make(self, *packages: ModuleType) -> str:
        name = f"test_{uuid4().hex}"
        _run(_execute(self._postgres_url, f"CREATE DATABASE {name}"))
        url = f"{self._postgres_url.rpartition('/')[0]}/{name}"
        folders = [Path(str(package.__file__)).parent / "migrations" for package in packages]
        _run(migrate(ChassisSettings(postgres_url=url), folders))
        return url


async def looks_into(table: str, connection: asyncpg.Connection, sql: str, *arguments: object) -> int:
    """How often a statement searches a table by an index; it is carried out."""
    count = "SELECT idx_scan FROM pg_stat_xact_user_tables WHERE relname = $1"
    async with connection.transaction():
        before = await connection.fetchval(count, table)
        await connection.execute(sql, *arguments)
        return int(await connection.fetchval(count, table) - before)


async def _execute(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(sql)
    finally:
        await connection.close()


def _run(work: Coroutine[Any, Any, object]) -> None:
    with ThreadPoolExecutor(max_workers=1) as pool:
        pool.submit(asyncio.run, work).result()
