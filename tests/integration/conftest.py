"""Real PostgreSQL and Kafka for the tests: those named by ZASOV_TEST_POSTGRES_URL and ZASOV_TEST_KAFKA_BOOTSTRAP, else the
run's own, started when the first test asks for them."""

import os
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import asyncpg
import pytest

from devstack.kafka import Kafka
from devstack.postgres import Postgres
from tests.integration.databases import Databases


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


@pytest.fixture(scope="session")
def databases(postgres_url: str) -> Iterator[Databases]:
    """Lends databases that are migrated already."""
    databases = Databases(postgres_url)
    yield databases
    databases.drop_all()


@pytest.fixture(scope="session")
def kafka_bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """host:port of a broker that creates no topic by itself."""
    if given := os.environ.get("ZASOV_TEST_KAFKA_BOOTSTRAP"):
        yield given
        return
    broker = Kafka(tmp_path_factory.mktemp("kafka"))
    broker.format()
    broker.start()
    try:
        broker.wait_ready()
        yield broker.bootstrap
    finally:
        broker.stop()


@pytest.fixture
def topic_prefix() -> str:
    """Goes before the names of topics and groups, so that tests on one broker don't meet."""
    return f"test-{uuid4().hex[:12]}."
