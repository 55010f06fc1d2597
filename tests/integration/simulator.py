"""jSMPP's SMSC simulator: a peer that we did not write. Receipts write in decimal the ids that it answered in hexadecimal."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from devstack import jars
from devstack.paths import JAVA
from devstack.waiting import free_port

SYSTEM_ID, PASSWORD = "j", "jpwd"
# It writes "Hello World" to whoever binds.
GREETING = b"Hello World"
_RECEIVED = re.compile(rb"Received PDU ([0-9a-f]+)")


@dataclass
class Simulator:
    """Its log at trace level is what a test sees of it."""

    port: int
    log: Path
    process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Returns when it listens."""
        class_path = await asyncio.to_thread(jars.class_path, JAVA / "smsc")
        with self.log.open("ab") as log:
            begun_at = log.tell()
            self.process = await asyncio.create_subprocess_exec(
                *[jars.java(), "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
                *[f"-Djsmpp.simulator.port={self.port}", "-cp", class_path, "org.jsmpp.examples.SMPPServerSimulator"],
                stdout=log,
                stderr=log,
            )
        await self.says(b"Listening on port", since=begun_at)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    async def says(self, words: bytes, *, since: int = 0) -> None:
        """Returns when the words are in its log. Raises TimeoutError."""
        async with asyncio.timeout(30):
            while words not in self.log.read_bytes()[since:]:  # another process's doing wakes nobody here
                assert self.process is not None
                assert self.process.returncode is None, self.log.read_text(errors="replace")
                await asyncio.sleep(0.02)

    def received(self) -> list[bytes]:
        """The PDUs that reached it, whole."""
        return [bytes.fromhex(found.decode()) for found in _RECEIVED.findall(self.log.read_bytes())]


@asynccontextmanager
async def simulating(folder: Path) -> AsyncIterator[Simulator]:
    simulator = Simulator(free_port(), folder / "simulator.log")
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.kill()
