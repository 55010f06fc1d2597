"""Apache Kafka: one broker that is its own controller (KRaft), on loopback."""

import asyncio
import shutil
import signal
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from devstack import jars
from devstack.child import Child
from devstack.paths import JAVA
from devstack.waiting import NotReady, accepts_connections, free_port, until

HOME = JAVA / "kafka"

JVM_OPTIONS = [
    "-Xmx512m",
    "-XX:+UseSerialGC",
    # Only the quick compiler. On two cores, from the start to an open port: 3.7 s with both compilers, 2.7 s so; and
    # 60,000 against 50,000 messages a second from one aiokafka producer in the first ten seconds, since the other
    # compiler competes with the services for the cores; send and ack 3.3 against 3.1 ms.
    # (1.3 s with an AOT cache, which costs 11 s and 69 MB to make, and warns of its own inconsistencies on Java 25.)
    "-XX:TieredStopAtLevel=1",
    f"-Dlog4j2.configurationFile={HOME / 'log4j2.properties'}",
    # Compression libraries load native code; Java 25 warns at each start unless told that this is meant.
    "--enable-native-access=ALL-UNNAMED",
]


@dataclass(frozen=True)
class Topic:
    """A topic as it is created: the partitions and what differs from the broker's defaults."""

    name: str
    partitions: int = 4
    config: Mapping[str, str] = field(default_factory=dict)


class Kafka:
    """`format()` once, then either `start()` here or `command()` under a supervisor, then `wait_ready()`."""

    stop_signal = signal.SIGTERM

    def __init__(
        self,
        state_dir: Path,
        port: int | None = None,
        *,
        controller_port: int | None = None,
        progress: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.state_dir = state_dir.absolute()
        self.port = port or free_port()
        self.controller_port = controller_port or free_port()
        self.log_path = self.state_dir / "logs" / "kafka.log"
        self._folder = self.state_dir / "kafka"
        self._progress = progress
        self._class_path: str | None = None
        self._child: Child | None = None

    @property
    def bootstrap(self) -> str:
        return f"127.0.0.1:{self.port}"

    def format(self) -> None:
        """Writes the settings, and creates the data folder unless it exists."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._properties.write_text("".join(f"{name}={value}\n" for name, value in self._settings().items()))
        if (self._data / "meta.properties").exists():
            return
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # A random id may begin with a hyphen, which the tool would take for an option.
        options = [f"--cluster-id={cluster}", f"--config={self._properties}"]
        argv = [*self._java(), "kafka.tools.StorageTool", "format", *options]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise NotReady(f"Kafka's storage could not be formatted:\n{done.stdout}{done.stderr}")

    def lose_everything(self) -> None:
        """As if its disks were new: topics, records and the groups' offsets are gone. The broker must be down."""
        shutil.rmtree(self._data)
        self.format()

    def command(self) -> list[str]:
        return [*self._java(), "kafka.Kafka", str(self._properties)]

    def start(self) -> None:
        self._child = Child(self.command(), log=self.log_path, stop_signal=self.stop_signal)

    def stop(self) -> None:
        if self._child:
            self._child.stop()

    def kill(self) -> None:
        """kill -9."""
        if self._child:
            self._child.send(signal.SIGKILL)

    @property
    def pid(self) -> int | None:
        return self._child.pid if self._child and self._child.is_alive else None

    def wait_ready(self, timeout: float = 90.0, *, check: Callable[[], None] = lambda: None) -> None:
        """Until the broker accepts connections. Group coordinators follow; clients retry that by themselves."""

        def answers() -> bool:
            if self._child and not self._child.is_alive:
                raise NotReady(f"Kafka has ended:\n{self._child.log_tail()}")
            check()
            return accepts_connections(self.port)

        until("Kafka", answers, timeout=timeout, interval=0.05)

    def create_topics(self, *topics: Topic) -> None:
        """Creates those that don't exist. Callable beside a running event loop too."""
        with ThreadPoolExecutor(max_workers=1) as pool:
            pool.submit(asyncio.run, create_topics(self.bootstrap, topics)).result()

    @property
    def _properties(self) -> Path:
        return self._folder / "server.properties"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _java(self) -> list[str]:
        if self._class_path is None:
            self._class_path = jars.class_path(HOME, self._progress)
        return [jars.java(), *JVM_OPTIONS, "-cp", self._class_path]

    def _settings(self) -> dict[str, str]:
        return {
            "process.roles": "broker,controller",
            "node.id": "1",
            "controller.quorum.voters": f"1@127.0.0.1:{self.controller_port}",
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self.controller_port}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": str(self._data),
            # A topic made by accident has one partition, and Faust dies of the mismatch later.
            "auto.create.topics.enable": "false",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # After kill -9 the controller refuses the broker's successor until the old session is over: 9 s by default.
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "share.coordinator.state.topic.num.partitions": "1",
            "log.cleaner.dedupe.buffer.size": "16777216",
            "num.network.threads": "2",
            "num.io.threads": "4",
        }


async def create_topics(bootstrap: str, topics: tuple[Topic, ...]) -> None:
    """Creates the topics that don't exist, on whatever cluster stands there."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        present = set(await admin.list_topics())
        missing = [topic for topic in topics if topic.name not in present]
        if not missing:
            return
        # -1: the replication factor that the broker is set to.
        new = [NewTopic(topic.name, topic.partitions, 1, topic_configs=dict(topic.config)) for topic in missing]
        answer = await admin.create_topics(new, timeout_ms=30_000)
        errors = [f"{row[0]}: {row[2] or row[1]}" for row in answer.topic_errors if row[1]]
        if errors:
            raise NotReady("topics could not be created: " + ", ".join(errors))
    finally:
        await admin.close()
