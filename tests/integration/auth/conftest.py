"""The suite for one test; at its end, what must hold after any of them."""

import logging
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import grpc
import pytest
import structlog.testing
from argon2 import PasswordHasher
from zasov.otp.v1.delivery_service_pb2_grpc import DeliveryServiceStub as OtpDeliveryStub

import services.auth.assembly
import services.auth.roles
import services.chassis
import services.lockout.roles
import services.otp.roles
from devstack.waiting import free_port
from services.auth.passwords.hashing import HashingLine
from services.auth.settings import AuthSettings
from services.auth.texts.commands import Commands
from services.chassis.keys import make_keys
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import open_database
from services.chassis.protocol_trace import open_trace
from services.lockout.settings import LockoutSettings
from services.lockout.store import LockoutStore
from services.otp.settings import OtpSettings
from tests.integration.auth.borrowed import borrowed_urls
from tests.integration.auth.suite import OTHER_PHONE, PHONE, UNKNOWN_PHONE, Auth, Suite, running
from tests.integration.databases import Databases
from tests.integration.rebuilding import assert_rows_are_their_events

StartSuite = Callable[..., Awaitable[Suite]]


@pytest.fixture(scope="session")
def keys_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder, datetime.now(UTC))
    return folder


@pytest.fixture
def urls(databases: Databases) -> Iterator[dict[str, str]]:
    with borrowed_urls(databases) as urls:
        yield urls


@pytest.fixture
async def start(
    urls: dict[str, str], keys_dir: Path, caplog: pytest.LogCaptureFixture, gate: "Gate"
) -> AsyncIterator[StartSuite]:
    """Starts the suite. auth, lockout, otp: settings other than the defaults."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.INFO, "grpc")  # says which loop it runs on, a thousand times
    suites: list[Suite] = []
    with structlog.testing.capture_logs() as logs:
        async with AsyncExitStack() as stack:

            async def start_suite(
                auth: dict[str, Any] | None = None, lockout: dict[str, Any] | None = None, otp: dict[str, Any] | None = None
            ) -> Suite:
                addresses = {name: f"127.0.0.1:{free_port()}" for name in ("lockout", "otp")}
                lockout_settings = LockoutSettings(postgres_url=urls["lockout"], listen=addresses["lockout"], **lockout or {})
                otp_settings = OtpSettings(
                    **{"cool_down_s": 0, "issues_per_day": 1000, "sweep_interval_s": 3600, **(otp or {})},
                    postgres_url=urls["otp"], listen=addresses["otp"], keys_dir=keys_dir,
                )  # fmt: skip
                await stack.enter_async_context(running(services.lockout.roles.server, lockout_settings))
                await stack.enter_async_context(running(services.otp.roles.server, otp_settings))

                def settings_of_auth(**changed: Any) -> AuthSettings:
                    cheap = {"argon2_memory_kib": 64, "argon2_iterations": 1, "hash_threads": 2, "captcha_provider": "none"}
                    others = {f"{name}_address": at for name, at in addresses.items()}
                    chosen = {"postgres_url": urls["auth"], **cheap, **others, **(auth or {}), **changed}
                    return AuthSettings(**chosen, keys_dir=keys_dir)

                async def start_commands() -> Commands:
                    settings = settings_of_auth()
                    database = await stack.enter_async_context(open_database(settings))
                    return await services.auth.assembly.commands_of(
                        settings, stack, database, services.auth.assembly.accounts_of(settings, database)
                    )

                async def start_auth(**changed: Any) -> Auth:
                    address = f"127.0.0.1:{free_port()}"
                    settings = settings_of_auth(**changed, listen=address)
                    await stack.enter_async_context(running(services.auth.roles.server, settings))
                    return Auth(await stack.enter_async_context(grpc.aio.insecure_channel(address)))

                suite = Suite(
                    start_auth,
                    await start_auth(),
                    *[await asyncpg.connect((auth or {}).get("postgres_url", urls["auth"]) if name == "auth" else urls[name])
                      for name in ("auth", "lockout", "otp")],
                    LockoutStore(
                        *_store(await stack.enter_async_context(open_database(lockout_settings))),
                        stack.enter_context(open_trace(lockout_settings.protocol_trace, "lockout", "stream")),
                    ),
                    OtpDeliveryStub(await stack.enter_async_context(grpc.aio.insecure_channel(addresses["otp"]))),
                    keys_dir,
                    start_commands,
                )  # fmt: skip
                stack.push_async_callback(suite.close)
                # The stream is played, and so is its beat.
                await suite.lockout_sql.execute("INSERT INTO stream_beat (at) VALUES (now() + interval '1 hour')")
                suites.append(suite)
                return suite

            yield start_suite
            gate.set()
            for suite in suites:
                await _assert_in_order(suite, logs, caplog)


def _store(database: Any) -> tuple[Any, OutboxWaker]:
    return database, OutboxWaker(database)


async def _assert_in_order(suite: Suite, logs: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    await assert_rows_are_their_events(suite.sql, "auth", suite.keys_dir)
    secrets = suite.said | {phone.lstrip("+7") for phone in (PHONE, OTHER_PHONE, UNKNOWN_PHONE)}
    said = [str(line) for line in logs] + [record.getMessage() for record in caplog.records]
    assert not [line for line in said if "never retrieved" in line]
    rows = await suite.sql.fetch("SELECT data, coalesce(secret, '') AS secret FROM event")
    stored = [bytes(part) for row in rows for part in row]
    for secret in secrets:
        assert not any(secret in line for line in said), "in a log"
        assert not any(secret.encode() in part for part in stored), "in an event"


@pytest.fixture
async def suite(start: StartSuite) -> Suite:
    return await start()


class Gate(threading.Event):
    """Open at first; closed, no verification ends. reached: one has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.set()
        self.reached = threading.Event()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    event = Gate()

    class Gated(PasswordHasher):
        def verify(self, hash: Any, password: Any) -> Any:
            event.reached.set()
            event.wait(30)
            return super().verify(hash, password)

    monkeypatch.setattr(
        services.auth.roles,
        "hasher_of",
        lambda settings: Gated(settings.argon2_iterations, settings.argon2_memory_kib, parallelism=1),
    )
    yield event
    event.set()


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """The outcome of each guess that was evaluated, in all replicas."""
    outcomes: list[bool] = []
    verify = HashingLine.verify

    async def counted(self: HashingLine, admission: Any, *rest: Any) -> bool | None:
        right = await verify(self, admission, *rest)
        assert admission.spent == (right is not None)
        if right is not None:
            outcomes.append(right)
        return right

    monkeypatch.setattr(HashingLine, "verify", counted)
    return outcomes


@pytest.fixture
def patient_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine that is busy with other things too, a crowd waits for connections longer than any caller would."""
    monkeypatch.setattr("services.chassis.postgres._ACQUIRE_TIMEOUT_S", 20.0)
