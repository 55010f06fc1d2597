"""What an operator sees of dead letters, and to whom they are handed again: to one group, once, and to nobody else."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from zasov.events.v1.auth_event_pb2 import AuthEvent

from devstack.kafka import Topic, create_topics
from services.chassis import commands
from services.chassis.dead_letters import dead_letters
from services.chassis.errors import CannotStart
from services.chassis.lifecycle import Lifecycle
from services.chassis.replay import DeadLetterTopics, Place
from services.chassis.settings import ChassisSettings
from services.chassis.streams import AUTH_EVENTS, OTP_EVENTS, Consumer, Poison, header
from tests.integration.kafka_records import reading
from tests.integration.waiting import until

DEAD, RETRIES = "zasov.auth.deadletters.v1", "zasov.auth.retries.v1"
TOPICS = DeadLetterTopics(DEAD, RETRIES, {AUTH_EVENTS})


@pytest.fixture
async def settings(kafka_bootstrap: str, topic_prefix: str) -> ChassisSettings:
    names = (AUTH_EVENTS, OTP_EVENTS, DEAD, RETRIES)
    await create_topics(kafka_bootstrap, tuple(Topic(topic_prefix + name, 2) for name in names))
    return ChassisSettings(postgres_url="x", kafka_bootstrap=kafka_bootstrap, topic_prefix=topic_prefix)


class Group:
    """A consumer's handler, which a test breaks and mends."""

    def __init__(self) -> None:
        self.broken = True
        self.done: list[bytes] = []

    async def handle(self, record: ConsumerRecord) -> None:
        if self.broken:
            raise Poison("not understood")
        self.done.append(record.value)

    async def has(self, *values: bytes) -> bool:
        return self.done == list(values)


@asynccontextmanager
async def consuming(settings: ChassisSettings, name: str, group: Group, retries: str | None) -> AsyncIterator[None]:
    async with dead_letters(settings, DEAD) as put_aside:
        consumer = Consumer(settings, name, {AUTH_EVENTS: {"Known": group.handle}}, put_aside, retries=retries)
        task = asyncio.create_task(consumer.run(Lifecycle()))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def producing(settings: ChassisSettings) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=settings.kafka_bootstrap)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def dead(settings: ChassisSettings, count: int) -> list[ConsumerRecord]:
    """So many dead letters, once they are there."""
    async with reading(settings.kafka_bootstrap, settings.topic_prefix + DEAD, 2) as letters:
        return await letters.until(lambda records: len(records) >= count)


async def test_a_replay_goes_to_the_group_that_put_it_aside_and_to_no_other_reader_of_the_topic(
    settings: ChassisSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, others = Group(), Group()
    others.broken = False
    async with (
        producing(settings) as producer,
        consuming(settings, "mine", mine, RETRIES),
        consuming(settings, "others", others, None),
    ):
        topic = settings.topic_prefix + AUTH_EVENTS
        await producer.send_and_wait(topic, b"one", key=b"key", headers=[("ce_type", b"Known")])
        await dead(settings, 1)
        await until("others have it", lambda: others.has(b"one"))
        mine.broken = False
        await commands.replay_dead_letters(settings, TOPICS, None)
        await until("it is handled", lambda: mine.has(b"one"))
        await producer.send_and_wait(topic, b"two", key=b"key", headers=[("ce_type", b"Known")])
        await until("others go on", lambda: others.has(b"one", b"two"))
        await until("and this one does", lambda: mine.has(b"one", b"two"))
    assert "1 handed out again." in capsys.readouterr().out


async def test_what_nobody_here_handles_is_neither_handed_out_nor_lost(settings: ChassisSettings) -> None:
    group = Group()
    group.broken = False
    async with producing(settings) as producer, consuming(settings, "mine", group, RETRIES):
        otp = [("ce_type", b"Known"), ("zasov-reason", b"old"), ("zasov-topic", (settings.topic_prefix + OTP_EVENTS).encode())]
        await producer.send_and_wait(settings.topic_prefix + DEAD, b"of otp", headers=otp)
        with pytest.raises(CannotStart, match=r"Nothing in this service handles .* [01]:0$"):
            await commands.replay_dead_letters(settings, TOPICS, None)
        # And if a foreign writer puts something there:
        await producer.send_and_wait(settings.topic_prefix + RETRIES, b"foreign", headers=[("ce_type", b"\xff")])
        foreign = next(record for record in await dead(settings, 2) if record.value == b"foreign")
    assert header(foreign.headers, "zasov-reason") == "nothing here handles it"
    assert group.done == []


async def test_what_a_dead_letter_says_cannot_write_to_the_operators_terminal(
    settings: ChassisSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    async with producing(settings) as producer:
        headers = [("ce_type", b"\x1b[31mred"), ("\x07bell", b"\xff\r\n0:99  forged")]
        await producer.send_and_wait(settings.topic_prefix + DEAD, b"\x1b[2J", headers=headers, partition=1)
    await commands.list_dead_letters(settings, TOPICS)
    await commands.show_dead_letter(settings, TOPICS, Place(1, 0))
    shown = capsys.readouterr().out
    assert "1b 5b 32 4a" in shown
    assert "\\x1b[31mred" in shown
    assert not [one for one in shown if not one.isprintable() and one != "\n"]
    assert not [line for line in shown.splitlines() if line.startswith("0:99")]


async def test_an_event_is_shown_by_its_fields(settings: ChassisSettings, capsys: pytest.CaptureFixture[str]) -> None:
    event = AuthEvent()
    event.meta.event_id = "an id"
    event.password_changed.credential_version = 42
    async with producing(settings) as producer:
        headers = [("zasov-topic", (settings.topic_prefix + AUTH_EVENTS).encode()), ("zasov-offset", b"3:14")]
        await producer.send_and_wait(settings.topic_prefix + DEAD, event.SerializeToString(), headers=headers, partition=0)
    await commands.show_dead_letter(settings, TOPICS, Place(0, 0))
    shown = capsys.readouterr().out
    assert f"{AUTH_EVENTS} 3:14" in shown
    assert "credential_version: 42" in shown


async def test_the_command_says_what_is_wrong_and_ends_with_1(settings: ChassisSettings) -> None:
    async def ran(*words: str, **changed: str) -> tuple[int | None, str]:
        own = {"POSTGRES_URL": "x", "KAFKA_BOOTSTRAP": settings.kafka_bootstrap, "TOPIC_PREFIX": settings.topic_prefix}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.auth", "dead-letters", *words,
            env=dict(os.environ) | {f"ZASOV_AUTH_{name}": value for name, value in (own | changed).items()},
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        out, _ = await process.communicate()
        return process.returncode, out.decode()

    listed, none, malformed, elsewhere = await asyncio.gather(
        ran("list"), ran("show", "0:0"), ran("replay", "nonsense"), ran("list", TOPIC_PREFIX="elsewhere.")
    )
    assert listed == (0, "")
    assert none == (1, "There is no dead letter 0:0.\n")
    assert malformed[0] == 2
    assert elsewhere == (1, f"There is no topic elsewhere.{RETRIES}.\n")
