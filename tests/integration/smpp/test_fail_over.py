"""Two SMSCs, one preferred: what leaves by which, and that nothing goes out twice by itself (row B3)."""

import asyncio
import json
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr

from devstack.handsets import Handsets, digits_of
from devstack.smsc import Smsc as Server
from services.notifier.channels import InDoubt, Outcome, Outgoing, Refused, Taken
from services.notifier.channels.sms import SmsChannel
from services.notifier.channels.smsc import Smsc
from services.notifier.domain import PartState
from services.notifier.settings import NotifierSettings
from services.notifier.smpp import InboundSms
from tests.integration.smpp.conftest import LOOPBACK, NUMBER
from tests.integration.smpp.test_smpp_session import StartSmsc, until

pytestmark = pytest.mark.row("B3")

FIRST, SECOND = "first", "second"
WINDOW = 10


@dataclass
class Receiver:
    """What both SMSCs handed over."""

    receipts: asyncio.Queue[tuple[str, str, PartState]] = field(default_factory=asyncio.Queue)
    texts: asyncio.Queue[InboundSms] = field(default_factory=asyncio.Queue)


@dataclass
class Receipts:
    to: Receiver

    async def receive(self, smsc_id: str, smsc_message_id: str, state: PartState) -> bool:
        await self.to.receipts.put((smsc_id, smsc_message_id, state))
        return True


@dataclass
class Texts:
    to: Receiver

    async def receive(self, sms: InboundSms) -> None:
        await self.to.texts.put(sms)


Open = Callable[..., Awaitable[SmsChannel]]


@pytest.fixture
def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def open_channel(receiver: Receiver) -> AsyncIterator[Open]:
    """`await open_channel(port, port, smpp2_rate=20)`: both bound unless `up` says otherwise."""
    async with AsyncExitStack() as stack:

        async def opened(first: int, second: int, *, up: int = 2, **changes: object) -> SmsChannel:
            settings = NotifierSettings(
                **{
                    "postgres_url": "postgresql://nobody",
                    "smpp_address": f"127.0.0.1:{first}",
                    "smpp2_address": f"127.0.0.1:{second}",
                    "smpp_password": SecretStr("devstack"),
                    "smpp2_password": SecretStr("devstack"),
                    "smpp_smsc_id": FIRST,
                    "smpp2_smsc_id": SECOND,
                    "smpp_window": WINDOW,
                    "smpp_rate": 10_000,
                    "smpp2_rate": 10_000,
                    "smpp_response_timeout_s": 0.6,
                    "smpp_silence_s": 0.1,
                    "smpp_enquire_idle_s": 0.3,
                    "smpp_reconnect_max_s": 0.6,
                    **changes,
                }  # type: ignore[arg-type]
            )
            smscs = [Smsc(account, Receipts(receiver), Texts(receiver)) for account in settings.smscs()]
            channel = await stack.enter_async_context(SmsChannel(smscs))
            await until(lambda: sum(smsc.is_up for smsc in smscs) == up)
            return channel

        yield opened


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[tuple[Server, Server]]:
    async with AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(
                Server(listen=LOOPBACK, control=LOOPBACK, state_dir=tmp_path / name, system_id="zasov", password="devstack")
            )
            for name in (FIRST, SECOND)
        ]
        yield first, second


@pytest.fixture
async def channel(open_channel: Open, servers: tuple[Server, Server]) -> SmsChannel:
    return await open_channel(*(server.address[1] for server in servers))


def behave(server: Server, **knobs: object) -> None:
    server.centre.behaviour = server.centre.behaviour.changed(knobs)


def message(text: str = "hi", destination: str = NUMBER) -> Outgoing:
    return Outgoing(uuid4(), destination, text, timedelta(minutes=5))


def sent_by(outcomes: list[Outcome]) -> Counter[str]:
    """The SMSCs that took messages, and what became of the others."""
    return Counter(one.provider_id if isinstance(one, Taken) else type(one).__name__ for one in outcomes)


async def send(channel: SmsChannel, count: int) -> Counter[str]:
    return sent_by(await asyncio.gather(*(channel.dispatch(message()) for _ in range(count))))


def texts_at(folder: Path) -> list[str]:
    """What the handset got there, also when the SMSC is dead."""
    kept = folder / f"{digits_of(NUMBER)}.jsonl"
    lines = kept.read_text().splitlines() if kept.exists() else []
    return [json.loads(line)["text"] for line in lines]


# -- preference


async def test_while_the_first_is_up_everything_leaves_by_it(channel: SmsChannel) -> None:
    assert await send(channel, 30) == {FIRST: 30}


async def test_an_smsc_that_refuses_the_account_is_passed_over(open_channel: Open, servers: tuple[Server, Server]) -> None:
    ports = [server.address[1] for server in servers]
    channel = await open_channel(*ports, up=1, smpp_password=SecretStr("wrong"))
    async with asyncio.timeout(1):
        await channel.wait_up(30)  # though the first won't be
    assert await send(channel, 5) == {SECOND: 5}


@pytest.mark.parametrize("status", [0x58, 0x14])
async def test_what_a_throttled_first_does_not_take_leaves_by_the_second_at_once(
    channel: SmsChannel, servers: tuple[Server, Server], status: int
) -> None:
    behave(servers[0], refuse_count=-1, refuse_status=status)
    assert await send(channel, 30) == {SECOND: 30}


async def test_a_throttled_first_is_asked_no_more_than_its_lowered_rate_allows(
    open_channel: Open, servers: tuple[Server, Server]
) -> None:
    channel = await open_channel(*(server.address[1] for server in servers), smpp_rate=10)
    behave(servers[0], refuse_count=1, refuse_status=0x58)
    assert await send(channel, 1) == {SECOND: 1}
    begun = asyncio.get_running_loop().time()
    assert (await send(channel, 20))[SECOND] >= 19
    assert asyncio.get_running_loop().time() - begun < 1  # five a second would be the first's


async def test_when_the_first_takes_messages_again_they_leave_by_it_again(
    channel: SmsChannel, servers: tuple[Server, Server]
) -> None:
    behave(servers[0], refuse_count=5, refuse_status=0x58)
    assert await send(channel, 5) == {SECOND: 5}
    async with asyncio.timeout(5):
        while await send(channel, 1) != {FIRST: 1}:
            pass


@pytest.mark.parametrize("status", [0x45, 0x400, 0x4FF])
async def test_what_the_first_refuses_for_good_the_second_is_asked_for(
    channel: SmsChannel, servers: tuple[Server, Server], status: int
) -> None:
    """An account without credit refuses everything, and its statuses are its vendor's own."""
    behave(servers[0], refuse_count=-1, refuse_status=status)
    assert await send(channel, 3) == {SECOND: 3}
    behave(servers[1], refuse_count=-1, refuse_status=0x0B)
    assert await channel.dispatch(message()) == Refused(0x0B)


async def test_what_can_be_sent_by_none_is_offered_to_none(channel: SmsChannel, servers: tuple[Server, Server]) -> None:
    assert await channel.dispatch(message(destination="nobody")) == Refused(0)
    assert [server.centre.submits for server in servers] == [0, 0]


# -- in doubt


@pytest.mark.parametrize("loss", ["lose_count", "drop_response_count"])
async def test_a_message_in_doubt_is_not_sent_by_the_second(
    channel: SmsChannel, servers: tuple[Server, Server], loss: str
) -> None:
    behave(servers[0], **{loss: 1})
    assert isinstance(await channel.dispatch(message()), InDoubt)
    assert servers[1].centre.submits == 0


async def test_a_message_of_which_a_part_was_taken_is_not_sent_by_the_second(
    channel: SmsChannel, servers: tuple[Server, Server]
) -> None:
    accept = servers[0].centre.accept

    def accept_and_refuse_the_next(pdu):  # type: ignore[no-untyped-def]
        behave(servers[0], refuse_count=1, refuse_status=0x45)
        return accept(pdu)

    servers[0].centre.accept = accept_and_refuse_the_next  # type: ignore[method-assign]
    assert isinstance(await channel.dispatch(message("ж" * 100)), InDoubt)
    assert servers[1].centre.submits == 0


@pytest.mark.kills
async def test_when_the_first_is_killed_the_rest_leaves_by_the_second_and_nothing_twice(
    open_channel: Open, start_smsc: StartSmsc, tmp_path: Path
) -> None:
    first, second = await start_smsc(name=FIRST), await start_smsc(name=SECOND)
    channel = await open_channel(first.port, second.port, smpp_response_timeout_s=5.0, smpp_silence_s=2.0)
    await Handsets(first.control).set_behaviour(response_delay_s=0.01)
    texts = [f"message {number}" for number in range(300)]
    sending = asyncio.gather(*(channel.dispatch(message(text)) for text in texts))
    await Handsets(first.control).wait(NUMBER, after=60)
    first.process.kill()
    outcomes = await sending
    of_each = dict(zip(texts, outcomes, strict=True))
    counts = sent_by(outcomes)
    assert counts.keys() <= {FIRST, SECOND, "InDoubt"}
    assert counts[FIRST] > 50
    assert counts[SECOND] > 50
    assert 0 < counts["InDoubt"] <= WINDOW
    by_second = {text for text, outcome in of_each.items() if isinstance(outcome, Taken) and outcome.provider_id == SECOND}
    await until(lambda: len(texts_at(tmp_path / SECOND)) >= len(by_second))
    arrived = Counter(texts_at(tmp_path / FIRST) + texts_at(tmp_path / SECOND))
    assert set(arrived.values()) == {1}
    assert set(texts_at(tmp_path / SECOND)) == by_second
    # It comes back, and is preferred as before.
    again = await start_smsc(first.port, name=FIRST)
    await until(lambda: channel._smscs[0].is_up)
    assert await send(channel, 5) == {FIRST: 5}
    assert again.process.returncode is None


@pytest.mark.kills
async def test_a_first_that_hangs_leaves_one_window_in_doubt_and_the_rest_leaves_by_the_second(
    open_channel: Open, start_smsc: StartSmsc, tmp_path: Path
) -> None:
    first, second = await start_smsc(name=FIRST), await start_smsc(name=SECOND)
    channel = await open_channel(first.port, second.port)
    first.process.send_signal(signal.SIGSTOP)
    outcomes = await asyncio.gather(*(channel.dispatch(message(f"hung {number}")) for number in range(4 * WINDOW)))
    assert sent_by(outcomes) == {"InDoubt": WINDOW, SECOND: 3 * WINDOW}
    # Nothing has been heard since, bound or not: it is passed over.
    assert await send(channel, 5) == {SECOND: 5}
    first.process.send_signal(signal.SIGCONT)
    # What lay in its socket arrives now, and was never sent by the other.
    await until(lambda: len(texts_at(tmp_path / FIRST)) == WINDOW)
    hung = [text for text in texts_at(tmp_path / FIRST) + texts_at(tmp_path / SECOND) if text.startswith("hung")]
    assert len(hung) == len(set(hung)) == 4 * WINDOW
    await until(lambda: channel._smscs[0].is_up and not channel._smscs[0].is_held_up)
    assert await send(channel, 5) == {FIRST: 5}


async def test_a_silent_first_is_passed_over_before_its_time_for_answers_is_over(
    open_channel: Open, servers: tuple[Server, Server]
) -> None:
    channel = await open_channel(*(server.address[1] for server in servers), smpp_response_timeout_s=5.0)
    behave(servers[0], response_delay_s=3.0, ignore_enquire_link=True)
    waiting = asyncio.ensure_future(channel.dispatch(message()))
    await until(lambda: channel._smscs[0].is_held_up)
    assert await send(channel, 5) == {SECOND: 5}
    assert sent_by([await waiting]) == {FIRST: 1}  # late, and not in doubt


# -- the other direction, and rates


@pytest.mark.row("M11")
async def test_receipts_and_texts_are_taken_from_both(
    channel: SmsChannel, servers: tuple[Server, Server], receiver: Receiver
) -> None:
    taken = []
    for server in servers:
        outcome = await channel.dispatch(message())
        assert isinstance(outcome, Taken)
        taken.append((outcome.provider_id, *outcome.message_ids, PartState.DELIVERED))
        behave(server, refuse_count=-1)
    async with asyncio.timeout(5):
        assert [await receiver.receipts.get() for _ in taken] == taken
    assert [smsc_id for smsc_id, *_ in taken] == [FIRST, SECOND]
    for server in servers:
        await Handsets(server.control_address).send(NUMBER, "3339", "ПАРОЛЬ", acknowledged=True)
    assert receiver.texts.qsize() == 2


async def test_each_smsc_has_a_rate_of_its_own(open_channel: Open, servers: tuple[Server, Server]) -> None:
    channel = await open_channel(*(server.address[1] for server in servers), smpp2_rate=20)  # a burst of two
    loop = asyncio.get_running_loop()
    begun = loop.time()
    assert await send(channel, 40) == {FIRST: 40}
    assert loop.time() - begun < 1  # twenty a second would take two
    await servers[0].__aexit__(None, None, None)
    await until(lambda: not channel._smscs[0].is_up)
    begun = loop.time()
    assert await send(channel, 12) == {SECOND: 12}
    assert loop.time() - begun >= 0.4
