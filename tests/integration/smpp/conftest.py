"""An SMSC in the test's own process, one in a process of its own (to be killed or stopped), and clients bound to them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from devstack.handsets import Handsets
from devstack.smsc import Smsc
from services.notifier.smpp import InboundSms, Receipt, SmppClient, SmppSettings

LOOPBACK = ("127.0.0.1", 0)
NUMBER = "+79160000001"


@dataclass
class Inbox:
    """What the client handed over; `fail` makes the handlers raise that many times first."""

    receipts: asyncio.Queue[Receipt] = field(default_factory=asyncio.Queue)
    texts: asyncio.Queue[InboundSms] = field(default_factory=asyncio.Queue)
    fail: int = 0
    calls: int = 0

    async def on_receipt(self, receipt: Receipt) -> None:
        self._maybe_fail()
        await self.receipts.put(receipt)

    async def on_text(self, text: InboundSms) -> None:
        self._maybe_fail()
        await self.texts.put(text)

    async def receipt(self) -> Receipt:
        """The next, or TimeoutError: a lost delivery must fail a test and not hang it."""
        async with asyncio.timeout(10):
            return await self.receipts.get()

    async def text(self) -> InboundSms:
        async with asyncio.timeout(10):
            return await self.texts.get()

    def _maybe_fail(self) -> None:
        self.calls += 1
        if self.fail:
            self.fail -= 1
            raise RuntimeError("the database is away")


@pytest.fixture
async def smsc(tmp_path: Path) -> AsyncIterator[Smsc]:
    async with Smsc(
        listen=LOOPBACK, control=LOOPBACK, state_dir=tmp_path / "smsc", system_id="zasov", password="devstack"
    ) as running:
        yield running


@pytest.fixture
def handsets(smsc: Smsc) -> Handsets:
    return Handsets(smsc.control_address)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def settings() -> SmppSettings:
    """Impatient, so that tests are short."""
    return SmppSettings(
        host="127.0.0.1",
        port=1,
        system_id="zasov",
        password="devstack",
        rate=10_000,
        window=10,
        response_timeout_s=5.0,
        enquire_idle_s=5.0,
        bind_timeout_s=2.0,
        reconnect_min_s=0.02,
        reconnect_max_s=0.1,
    )


Connect = Callable[..., Awaitable[SmppClient]]


@pytest.fixture
async def connect(settings: SmppSettings, inbox: Inbox) -> AsyncIterator[Connect]:
    """Makes clients that are closed at the end: `await connect(port, window=3)` is bound when it returns."""
    async with AsyncExitStack() as stack:

        async def connected(port: int, *, wait: bool = True, **changes: object) -> SmppClient:
            chosen = replace(settings, port=port, **changes)  # type: ignore[arg-type]
            client = await stack.enter_async_context(SmppClient(chosen, inbox.on_receipt, inbox.on_text))
            if wait:
                await client.wait_bound(5)
            return client

        yield connected


@pytest.fixture
async def client(connect: Connect, smsc: Smsc) -> SmppClient:
    return await connect(smsc.address[1])


@dataclass
class SmscProcess:
    """`python -m devstack.smsc`, to be killed."""

    process: asyncio.subprocess.Process
    port: int
    control: str


@pytest.fixture
async def start_smsc(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[SmscProcess]]]:
    async with AsyncExitStack() as stack:

        async def start(port: int = 0, name: str = "smsc") -> SmscProcess:
            process = await asyncio.create_subprocess_exec(
                *[sys.executable, "-m", "devstack.smsc", "--listen", f"127.0.0.1:{port}", "--control", "127.0.0.1:0"],
                *["--state-dir", str(tmp_path / name), "--system-id", "zasov", "--password", "devstack"],
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                cwd=Path(__file__).parents[3],
            )
            stack.push_async_callback(_kill, process)
            assert process.stdout is not None
            ready = json.loads(await process.stdout.readline())
            return SmscProcess(process, int(ready["smpp"].rpartition(":")[2]), ready["control"])

        yield start


async def _kill(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.kill()
    await process.communicate()
