"""The parts that the services stand on: PostgreSQL, Kafka, the mail server and, when it is there, the SMSC."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from devstack import wiring
from devstack.kafka import Kafka
from devstack.postgres import Postgres
from devstack.supervisor import Supervisor, environment
from devstack.waiting import accepts_connections, free_port, until

Progress = Callable[[str], None]


def silent(text: str) -> None:
    """No progress lines: the tests' choice."""


class Infra:
    """PostgreSQL, Kafka, the SMSC and the mail server under a supervisor."""

    def __init__(self, supervisor: Supervisor, *, progress: Progress = silent) -> None:
        self.supervisor = supervisor
        self.state_dir = supervisor.state_dir
        self.postgres = Postgres(self.state_dir)
        self.kafka = Kafka(self.state_dir, progress=progress)
        self.smsc_port = free_port()
        self.handsets_port = free_port()
        self.has_smsc = wiring.has_smsc()
        self.smtp_port = free_port()
        self.mailboxes_port = free_port()
        self._progress = progress

    def begin(self) -> None:
        """Starts all of it. Only PostgreSQL is ready on return: Kafka takes the longest, so others go on meanwhile."""
        start = self.supervisor.start
        with ThreadPoolExecutor(max_workers=1) as pool:
            formatted = pool.submit(self.kafka.format)
            self._progress("Starting PostgreSQL")
            self.postgres.init()
            start("postgres", self.postgres.command(), user=self.postgres.user, stop_signal=self.postgres.stop_signal)
            formatted.result()
        self._progress("Starting Kafka (some seconds)")
        start("kafka", self.kafka.command(), stop_signal=self.kafka.stop_signal)
        if self.has_smsc:
            start("smsc", wiring.smsc_command(self), environment(), tier=1)
        start("mail", wiring.mail_command(self), environment(), tier=1)
        self.postgres.wait_ready(check=partial(self.supervisor.raise_if_dead, "postgres"))

    def wait_ready(self) -> None:
        """Until Kafka, the SMSC and the mail server accept connections too."""
        self.kafka.wait_ready(check=partial(self.supervisor.raise_if_dead, "kafka"))
        if self.has_smsc:
            until("SMSC", self._smsc_answers, timeout=30.0)
        until("mail server", self._mail_answers, timeout=30.0)

    def addresses(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "postgres": {"url": self.postgres.url("postgres"), "port": self.postgres.port},
            "kafka": {"bootstrap": self.kafka.bootstrap},
            "logs": str(self.state_dir / "logs"),
        }
        if self.has_smsc:
            found["smsc"] = wiring.smsc_addresses(self)
        found["mail"] = wiring.mail_addresses(self)
        return found

    def _smsc_answers(self) -> bool:
        self.supervisor.raise_if_dead("smsc")
        return accepts_connections(self.smsc_port) and accepts_connections(self.handsets_port)

    def _mail_answers(self) -> bool:
        self.supervisor.raise_if_dead("mail")
        return accepts_connections(self.smtp_port) and accepts_connections(self.mailboxes_port)
