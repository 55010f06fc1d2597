"""The whole of Zasov on one machine: every part and every role a process of its own, as in production."""

import http.client
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from devstack import wiring
from devstack.child import Child
from devstack.infra import Infra, Progress, silent
from devstack.staff import make_staff_keys
from devstack.supervisor import ProcessDied, Supervisor, environment
from devstack.waiting import free_port, until

# What stops before what: roles, then the SMSC and the mail server (tier 1), then Kafka and PostgreSQL.
_ROLES_TIER = 2


class Stack:
    """`up()` returns when every role says that it is ready; `down()` stops all of it. A context manager, too.

    `settings_overrides` are environment variables by service ("auth") or by process ("auth-worker"). `spare` roles have
    addresses, and start when `start_role` says so.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        settings_overrides: Mapping[str, Mapping[str, str]] | None = None,
        roles: Sequence[wiring.Role] = wiring.ROLES,
        spare: Sequence[wiring.Role] = (),
        detached: bool = False,
        progress: Progress = silent,
    ) -> None:
        self.state_dir = state_dir.absolute()
        self.roles = roles
        self.supervisor = Supervisor(self.state_dir, detached=detached)
        self.infra = Infra(self.supervisor, progress=progress)
        self._progress = progress
        services = {role.service: None for role in roles}
        listen = {role: _address() for role in roles if role.is_server}
        self.at = wiring.Addresses(
            databases={service: self.infra.postgres.url(service) for service in services},
            kafka=self.infra.kafka.bootstrap,
            smsc=f"127.0.0.1:{self.infra.smsc_port}",
            smtp=f"127.0.0.1:{self.infra.smtp_port}",
            smtp_ca=Path(self.infra.addresses()["mail"]["ca_file"]),
            listen={role.name: address for role, address in listen.items()},
            grpc={
                service: wiring.dial([address for role, address in listen.items() if role.service == service])
                for service in dict.fromkeys(role.service for role in listen)
            },
            health={role.name: _address() for role in listen},
            metrics={role.name: _address() for role in (*roles, *spare)},
            keys=self.state_dir / "keys",
            traces=self.state_dir / "traces",
            overrides=settings_overrides or {},
        )

    def up(self) -> Self:
        try:
            self._up()
        except BaseException:
            self.supervisor.stop_all()
            raise
        return self

    def down(self) -> None:
        self.supervisor.stop_all()

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.down()

    def start_role(self, role: wiring.Role, extra: Mapping[str, str] | None = None) -> None:
        """Starts one role's process, with `extra` variables; `wait_role` says when it serves."""
        argv = [sys.executable, "-m", f"services.{role.service}", role.role]
        self.supervisor.start(role.name, argv, self.environment_of(role) | dict(extra or {}), tier=_ROLES_TIER)

    def wait_role(self, name: str, timeout: float = 60.0) -> None:
        """Until the process answers `/ready` with 200; `ProcessDied` at once, with its log's end, if it has ended."""

        def ready() -> bool:
            self.supervisor.raise_if_dead(name)
            return http_status(self.at.metrics[name], "/ready") == 200

        until(f"{name} (its log: {self.supervisor.log_path(name)})", ready, timeout=timeout, interval=0.05)

    def environment_of(self, role: wiring.Role) -> dict[str, str]:
        return environment(wiring.role_environment(role, self.at))

    def describe(self) -> dict[str, Any]:
        """All addresses of the stack, as `build/stack.json` holds them."""
        return {
            "grpc": dict(self.at.grpc),
            "health": dict(self.at.health),
            "metrics": dict(self.at.metrics),
            "databases": dict(self.at.databases),
            "topics": [topic.name for topic in wiring.TOPICS],
            "keys": str(self.at.keys),
            "traces": str(self.at.traces),
            "state_dir": str(self.state_dir),
            "pids": {name: self.supervisor.pid(name) for name in self.supervisor.names()},
            **self.infra.addresses(),
        }

    def _up(self) -> None:
        self.at.traces.mkdir(parents=True, exist_ok=True)
        self.infra.begin()
        self._progress("Creating databases")
        with ThreadPoolExecutor() as pool:
            list(pool.map(self.infra.postgres.create_database, self.at.databases))
        self._run_to_end({"keys": ([sys.executable, "-m", "services.chassis.keys", str(self.at.keys)], environment())})
        make_staff_keys(self.at.keys)
        self._migrate()
        self._progress("Starting the gRPC servers")
        early = [role for role in self.roles if not role.needs_kafka]
        for role in early:
            self.start_role(role)
        self._progress("Waiting for Kafka")
        self.infra.wait_ready()
        self.infra.kafka.create_topics(*wiring.TOPICS)
        self._progress("Starting workers, stream and relays")
        for role in self.roles:
            if role.needs_kafka:
                self.start_role(role)
        for role in self.roles:
            self.wait_role(role.name)

    def _migrate(self) -> None:
        jobs = {}
        for service in self.at.databases:
            role = next(role for role in self.roles if role.service == service)
            jobs[f"{service}-migrate"] = (
                [sys.executable, "-m", f"services.{service}", "migrate"],
                self.environment_of(role),
            )
        self._run_to_end(jobs)

    def _run_to_end(self, jobs: Mapping[str, tuple[list[str], dict[str, str]]]) -> None:
        """Runs processes side by side and waits for all; raises `ProcessDied` if one fails."""
        running = {name: Child(argv, log=self.supervisor.log_path(name), env=env) for name, (argv, env) in jobs.items()}
        for name, child in running.items():
            if status := child.wait(timeout=120.0):
                raise ProcessDied(f"{name} failed with status {status}:\n{child.log_tail()}")


def _address() -> str:
    return f"127.0.0.1:{free_port()}"


def http_status(address: str, path: str) -> int | None:
    """The status of a GET; None when nobody answers."""
    connection = http.client.HTTPConnection(address, timeout=2.0)
    with suppress(OSError, http.client.HTTPException):
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        finally:
            connection.close()
    return None
