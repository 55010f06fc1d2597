"""A real PostgreSQL for the tests: the server named by ZASOV_TEST_POSTGRES_URL, else one of the run's own."""

import os
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import asyncpg
import pytest

from devstack.postgres import Postgres


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a database from which others can be made."""
    if given := os.environ.get("ZASOV_TEST_POSTGRES_URL"):
        yield given
        return
    server = Postgres(tmp_path_factory.mktemp("postgres"))
    server.init()
    server.start()
    try:
        server.wait_ready()
        yield server.url("postgres")
    finally:
        server.stop()
        server.destroy()


@pytest.fixture
async def database_url(postgres_url: str) -> AsyncIterator[str]:
    """URL of an empty database that this test alone has."""
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_url)
    try:
        await connection.execute(f"CREATE DATABASE {name}")
        yield f"{postgres_url.rpartition('/')[0]}/{name}"
        await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await connection.close()
