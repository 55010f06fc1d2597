"""What each process is told: the one place that knows the names of the services' settings, topics and databases."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from devstack.argon2_build import avx2_build
from devstack.kafka import Topic
from devstack.mail_tls import certificates_in
from devstack.paths import REPO
from services.chassis import streams
from services.lockout import topics as lockout_topics

if TYPE_CHECKING:
    from devstack.infra import Infra

SERVICES = ("auth", "otp", "lockout", "notifier")

SMSC_SYSTEM_ID = "zasov"
SMSC_PASSWORD = "devstack"  # of a simulator on loopback; SMPP allows eight characters
MAIL_SENDER = "no-reply@zasov.example"

# All pictures of a local stack show it, so that a program can answer them.
CAPTCHA_TEXT = "HAPPY"

# Few partitions, so that a stack starts quickly; more than one, so that order and ownership are really tested.
PARTITIONS = 4
# The broker refuses records of a producer whose clock is an hour fast, and retention would go by that clock (rule 5).
_DATED_BY_THE_BROKER = {"message.timestamp.type": "LogAppendTime"}
TOPICS = (
    *(Topic(name, PARTITIONS, _DATED_BY_THE_BROKER) for name in streams.EVENT_TOPICS),
    Topic(lockout_topics.LIMITS, PARTITIONS, _DATED_BY_THE_BROKER),
    # Faust's changelog never recovers once retention has emptied it.
    Topic(lockout_topics.CHANGELOG, PARTITIONS, {**_DATED_BY_THE_BROKER, "cleanup.policy": "compact"}),
    # Faust writes its dead letters by the partition count that it was told.
    Topic(lockout_topics.DEAD_LETTERS, PARTITIONS, _DATED_BY_THE_BROKER),
    Topic(lockout_topics.RETRIES, PARTITIONS, _DATED_BY_THE_BROKER),
    *(
        Topic(f"zasov.{service}.{name}.v1", 1, _DATED_BY_THE_BROKER)
        for service in ("auth", "notifier")
        for name in ("deadletters", "retries")
    ),
)


@dataclass(frozen=True)
class Role:
    """One process of one service."""

    service: str
    role: str
    needs_kafka: bool
    number: int = 1  # of several that do the same side by side

    @property
    def name(self) -> str:
        """auth-server, auth-server-2 …"""
        return f"{self.service}-{self.role}" + (f"-{self.number}" if self.number > 1 else "")

    @property
    def is_server(self) -> bool:
        return self.role == "server"


ROLES = (
    Role("auth", "server", needs_kafka=False),
    Role("otp", "server", needs_kafka=False),
    Role("lockout", "server", needs_kafka=False),
    Role("notifier", "server", needs_kafka=False),
    Role("auth", "worker", needs_kafka=True),
    Role("lockout", "stream", needs_kafka=True),
    Role("notifier", "worker", needs_kafka=True),
    *(Role(service, "relay", needs_kafka=True) for service in SERVICES),
)


def replicated(role: Role, replicas: int) -> tuple[Role, ...]:
    """The role as so many processes."""
    return tuple(replace(role, number=number) for number in range(1, replicas + 1))


@dataclass(frozen=True)
class Addresses:
    """Where everything of one stack listens; "host:port" each, by service or by the process's name."""

    databases: Mapping[str, str]  # service -> PostgreSQL URL
    kafka: str
    smsc: str
    smtp: str
    smtp_ca: Path
    listen: Mapping[str, str]  # process -> address of its gRPC server
    grpc: Mapping[str, str]  # service -> what a client dials: its server, or all of its servers
    health: Mapping[str, str]  # process -> plaintext gRPC health
    metrics: Mapping[str, str]  # process -> HTTP /ready, /live and /metrics
    keys: Path
    traces: Path
    log_level: str = "INFO"
    overrides: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def role_environment(role: Role, at: Addresses) -> dict[str, str]:
    """The variables of one process. Overrides are given by service ("auth") or by process ("auth-worker")."""
    settings = {
        "POSTGRES_URL": at.databases[role.service],
        "KAFKA_BOOTSTRAP": at.kafka,
        "METRICS_LISTEN": at.metrics[role.name],
        "KEYS_DIR": str(at.keys),
        "LOG_LEVEL": at.log_level,
        "TRACES_FILE": str(at.traces / f"{role.name}.jsonl"),
        # A person who looks at a local stack wants to see every request.
        "TRACE_SAMPLE_RATIO": "1",
    }
    if role.is_server:
        settings |= {
            "LISTEN": at.listen[role.name],
            "HEALTH_LISTEN": at.health[role.name],
            "REFLECTION": "true",
        }
    # A service reads only what it declares, so all are told where all the others are.
    settings |= {f"{service.upper()}_ADDRESS": address for service, address in at.grpc.items()}
    if role.service == "notifier":
        settings |= {"SMPP_ADDRESS": at.smsc, "SMPP_SYSTEM_ID": SMSC_SYSTEM_ID, "SMPP_PASSWORD": SMSC_PASSWORD}
        # All of a local stack's numbers are of one range, and each gets more in a minute than a person in a day.
        settings |= {"SMS_PER_NUMBER": "100000", "SMS_PER_RANGE": "1000000"}
        settings |= {"SMTP_ADDRESS": at.smtp, "SMTP_CA_FILE": str(at.smtp_ca), "SMTP_SENDER": MAIL_SENDER}
    auth_server = (role.service, role.role) == ("auth", "server")
    if auth_server:
        settings |= {"CAPTCHA_PROVIDER": "picture", "CAPTCHA_FIXED_TEXT": CAPTCHA_TEXT}
        settings |= {"OFFICE_RECOVERY": "true"}
    hashing = {"PYTHONPATH": str(build)} if auth_server and (build := avx2_build()) else {}
    own = hashing | {f"ZASOV_{role.service.upper()}_{name}": value for name, value in settings.items()}
    return own | dict(at.overrides.get(role.service, {})) | dict(at.overrides.get(role.name, {}))


def dial(addresses: Sequence[str]) -> str:
    """A gRPC target that stands for all of them; clients go round (services/chassis/rpc_clients.py)."""
    return addresses[0] if len(addresses) == 1 else "ipv4:" + ",".join(addresses)


def has_smsc() -> bool:
    """Whether this checkout has the SMSC."""
    return (REPO / "devstack" / "smsc.py").exists()


def smsc_command(infra: "Infra") -> list[str]:
    return [
        *[sys.executable, "-m", "devstack.smsc"],
        *["--listen", f"127.0.0.1:{infra.smsc_port}"],
        *["--control", f"127.0.0.1:{infra.handsets_port}"],
        *["--state-dir", str(infra.state_dir / "smsc")],
        *["--system-id", SMSC_SYSTEM_ID],
        *["--password", SMSC_PASSWORD],
    ]


def mail_command(infra: "Infra") -> list[str]:
    return [
        *[sys.executable, "-m", "devstack.mail"],
        *["--listen", f"127.0.0.1:{infra.smtp_port}"],
        *["--control", f"127.0.0.1:{infra.mailboxes_port}"],
        *["--state-dir", str(infra.state_dir / "mail")],
    ]


def mail_addresses(infra: "Infra") -> dict[str, Any]:
    """`mailboxes` is what `devstack.mailboxes.Mailboxes` takes; `ca_file` is to be trusted."""
    return {
        "address": f"127.0.0.1:{infra.smtp_port}",
        "mailboxes": f"127.0.0.1:{infra.mailboxes_port}",
        "messages": str(infra.state_dir / "mail"),
        "ca_file": str(certificates_in(infra.state_dir / "mail").ca),
    }


def smsc_addresses(infra: "Infra") -> dict[str, Any]:
    """`handsets` is what `devstack.handsets.Handsets` takes."""
    return {
        "address": f"127.0.0.1:{infra.smsc_port}",
        "handsets": f"127.0.0.1:{infra.handsets_port}",
        "messages": str(infra.state_dir / "smsc"),
        "system_id": SMSC_SYSTEM_ID,
        "password": SMSC_PASSWORD,
    }
