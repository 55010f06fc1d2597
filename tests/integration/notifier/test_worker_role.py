"""The roles as processes run them: real Kafka in, SMS out, the notifier's own events back in Kafka."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from zasov.events.v1.notifier_event_pb2 import NotifierEvent, SmsReceived

from devstack.handsets import Handsets
from devstack.smsc import Smsc
from services.chassis import commands
from services.chassis.lifecycle import Lifecycle
from services.chassis.postgres import Database
from services.chassis.replay import Place
from services.chassis.streams import AUTH_EVENTS, EVENT_TOPICS, NOTIFIER_EVENTS, OTP_EVENTS, Poison, header
from services.notifier import planner, roles
from services.notifier.roles import DEAD_LETTER_TOPICS, DEAD_LETTERS, GROUP, RETRIES
from services.notifier.settings import NotifierSettings
from tests.fakes.delivery_services import FakeDelivery, serving_deliveries
from tests.integration.notifier.conftest import PHONE, Event, comes_to, otp_issued, password_changed, state_of, until


@pytest.fixture
async def on_kafka(settings: NotifierSettings, kafka_bootstrap: str, database: Database) -> AsyncIterator[NotifierSettings]:
    prefix = f"test-{uuid4().hex[:8]}-"
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    topics = [prefix + topic for topic in (*EVENT_TOPICS, DEAD_LETTERS, RETRIES)]
    await admin.create_topics([NewTopic(topic, num_partitions=2, replication_factor=1) for topic in topics])
    yield settings.model_copy(update={"kafka_bootstrap": kafka_bootstrap, "topic_prefix": prefix})
    await admin.delete_topics(topics)
    await admin.close()


@asynccontextmanager
async def running(settings: NotifierSettings, role: str = "worker") -> AsyncIterator[Lifecycle]:
    life = Lifecycle()
    work = asyncio.create_task(getattr(roles, role)(settings, life))
    try:
        await until(lambda: life.is_ready or work.done(), timeout=20)
        yield life
    finally:
        life.stop()
        await asyncio.wait_for(work, 10)
        await life.cancel_background()


@pytest.fixture
async def producer(kafka_bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await made.start()
    yield made
    await made.stop()


async def publish(producer: AIOKafkaProducer, settings: NotifierSettings, event: Event, value: bytes | None = None) -> None:
    await producer.send_and_wait(
        settings.topic_prefix + event.topic,
        key=str(event.stream_id).encode(),
        value=event.envelope.SerializeToString() if value is None else value,
        headers=event.headers,
    )


async def first_of(settings: NotifierSettings, topic: str, count: int) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(
        settings.topic_prefix + topic, bootstrap_servers=settings.kafka_bootstrap, auto_offset_reset="earliest"
    )
    await consumer.start()
    try:
        async with asyncio.timeout(10):
            return [await consumer.getone() for _ in range(count)]
    finally:
        await consumer.stop()


@pytest.mark.row("B3")
async def test_an_event_in_kafka_becomes_an_sms_and_its_fate_events_in_kafka(
    on_kafka: NotifierSettings, producer: AIOKafkaProducer, handsets: Handsets
) -> None:
    async with running(on_kafka), running(on_kafka, "relay"):
        event = otp_issued()
        for _ in range(3):
            await publish(producer, on_kafka, event)
        assert "4711" in (await handsets.wait(PHONE)).text
        records = await first_of(on_kafka, NOTIFIER_EVENTS, 2)
        assert [header(record.headers, "ce_type") for record in records] == ["MessageSubmitted", "MessageDelivered"]
        assert len(await handsets.messages(PHONE)) == 1


@pytest.mark.row("M6")
@pytest.mark.row("B3")
async def test_a_text_from_a_handset_becomes_an_event_in_kafka_without_sender_or_text(
    on_kafka: NotifierSettings, handsets: Handsets
) -> None:
    async with running(on_kafka), running(on_kafka, "relay"):
        await handsets.send(PHONE, "111", "25 secret", acknowledged=True)
        (record,) = await first_of(on_kafka, NOTIFIER_EVENTS, 1)
        assert header(record.headers, "ce_type") == "SmsReceived"
        event = NotifierEvent.FromString(record.value)
        assert event.sms_received == SmsReceived(destination="111", parts=1)
        assert event.meta.stream_id == header(record.headers, "ce_subject")
        assert not [one for one in (PHONE[1:], "secret") if one in f"{record.value!r} {record.key!r} {record.headers!r}"]


async def test_poison_goes_to_the_dead_letters_as_it_was_and_holds_up_nothing(
    on_kafka: NotifierSettings, producer: AIOKafkaProducer, handsets: Handsets
) -> None:
    async with running(on_kafka):
        poison, event = otp_issued(), otp_issued()
        event.stream_id = poison.stream_id  # the same partition, behind it
        await publish(producer, on_kafka, poison, b"\xff\xff not protobuf")
        await publish(producer, on_kafka, event)
        await handsets.wait(PHONE)
        (dead,) = await first_of(on_kafka, DEAD_LETTERS, 1)
        assert dead.value == b"\xff\xff not protobuf"
        assert header(dead.headers, "zasov-reason") == "not readable"
        assert header(dead.headers, "ce_id") == str(poison.event_id)
        assert (header(dead.headers, "zasov-topic") or "").endswith(OTP_EVENTS)


async def test_a_dead_letter_is_listed_shown_and_after_the_reader_was_mended_takes_effect_once(
    on_kafka: NotifierSettings,
    producer: AIOKafkaProducer,
    database: Database,
    handsets: Handsets,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    event = password_changed(version=7)
    later = password_changed(event.stream_id, version=8)
    read = planner.read

    def broken(topic: str, record: ConsumerRecord) -> Any:
        raise Poison("a bug of ours")

    monkeypatch.setattr(planner, "read", broken)
    async with running(on_kafka):
        await publish(producer, on_kafka, event)
        (dead,) = await first_of(on_kafka, DEAD_LETTERS, 1)
        place = f"{dead.partition}:{dead.offset}"
        monkeypatch.setattr(planner, "read", read)
        # Meanwhile the stream goes on, and the mark is past the one that was put aside.
        await publish(producer, on_kafka, later)
        await comes_to(database, later, "delivered")

        await commands.list_dead_letters(on_kafka, DEAD_LETTER_TOPICS)
        listed = capsys.readouterr().out
        assert [line.split()[0] for line in listed.splitlines() if "PasswordChanged  a bug of ours" in line] == [place]
        assert AUTH_EVENTS in listed
        await commands.show_dead_letter(on_kafka, DEAD_LETTER_TOPICS, Place(dead.partition, dead.offset))
        shown = capsys.readouterr().out
        assert f"ce_id: {event.event_id}" in shown
        assert "credential_version: 2" in shown

        assert await state_of(database, event) is None
        await commands.replay_dead_letters(on_kafka, DEAD_LETTER_TOPICS, None)
        await comes_to(database, event, "delivered")
        await commands.replay_dead_letters(on_kafka, DEAD_LETTER_TOPICS, None)
        assert "1 handed out again.\n0 handed out again." in capsys.readouterr().out
        await commands.replay_dead_letters(on_kafka, DEAD_LETTER_TOPICS, Place(dead.partition, dead.offset))
        behind = otp_issued()
        await publish(producer, on_kafka, behind)
        await comes_to(database, behind, "delivered")
        await until(lambda: caught_up(on_kafka, RETRIES))
        assert len(await handsets.messages(PHONE)) == 3
        await commands.list_dead_letters(on_kafka, DEAD_LETTER_TOPICS)
        assert "(replayed)" in capsys.readouterr().out


async def caught_up(settings: NotifierSettings, topic: str) -> bool:
    """Whether the group has read all of a topic."""
    name, group = settings.topic_prefix + topic, settings.topic_prefix + GROUP
    admin = AIOKafkaAdminClient(bootstrap_servers=settings.kafka_bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.kafka_bootstrap)
    await admin.start()
    await consumer.start()
    try:
        ends = await consumer.end_offsets([TopicPartition(name, number) for number in range(2)])
        read = await admin.list_consumer_group_offsets(group, partitions=list(ends))
        return all(max(0, read[one].offset) >= end for one, end in ends.items())
    finally:
        await consumer.stop()
        await admin.close()


async def test_what_is_still_not_readable_comes_back_to_the_dead_letters_from_where_it_came(
    on_kafka: NotifierSettings, producer: AIOKafkaProducer, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(on_kafka):
        await publish(producer, on_kafka, otp_issued(), b"\xff\xff \x1b[2J not protobuf")
        (dead,) = await first_of(on_kafka, DEAD_LETTERS, 1)
        await commands.replay_dead_letters(on_kafka, DEAD_LETTER_TOPICS, Place(dead.partition, dead.offset))
        _, again = await first_of(on_kafka, DEAD_LETTERS, 2)
        assert (again.value, again.key) == (dead.value, dead.key)
        assert sorted(again.headers) == sorted(dead.headers)
        await commands.show_dead_letter(on_kafka, DEAD_LETTER_TOPICS, Place(again.partition, again.offset))
        assert f"{len(dead.value)} bytes that are no event of that topic: ff ff 20 1b" in capsys.readouterr().out


async def test_a_worker_is_ready_while_the_smsc_is_away_and_sends_when_it_comes(
    on_kafka: NotifierSettings, producer: AIOKafkaProducer, database: Database, smsc: Smsc, handsets: Handsets
) -> None:
    port = smsc.address[1]
    await smsc.__aexit__(None, None, None)
    async with running(on_kafka) as life:
        assert life.is_ready
        event = otp_issued()
        await publish(producer, on_kafka, event)
        await until(lambda: state_of(database, event))
        assert await state_of(database, event) == "pending"
        smsc._listen, smsc._servers = ("127.0.0.1", port), []
        async with smsc:
            await comes_to(database, event, "delivered")
        assert life.is_ready


async def test_a_code_waits_for_its_issuer_to_be_back(
    on_kafka: NotifierSettings, producer: AIOKafkaProducer, database: Database, handsets: Handsets
) -> None:
    async with serving_deliveries(FakeDelivery()) as short_lived:
        address = short_lived.address
    chosen = on_kafka.model_copy(update={"otp_address": address})
    async with running(chosen):
        event = otp_issued()
        await publish(producer, chosen, event)
        await until(lambda: state_of(database, event))
        await asyncio.sleep(0.5)
        assert await handsets.messages(PHONE) == []
        async with serving_deliveries(FakeDelivery(), address):
            await comes_to(database, event, "delivered")


async def test_a_drain_ends_the_submits_under_way_and_closes_the_session(
    on_kafka: NotifierSettings, producer: AIOKafkaProducer, database: Database, handsets: Handsets, issuer: FakeDelivery
) -> None:
    await handsets.set_behaviour(response_delay_s=0.4)
    issuer.report_delay_s = 0.3
    async with running(on_kafka):
        event = otp_issued()
        await publish(producer, on_kafka, event)
        await comes_to(database, event, "submitting")
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "dispatch"]
    assert await state_of(database, event) in ("submitted", "delivered")
    assert await database.fetch_value("SELECT reported FROM message")
    assert (await handsets.state())["links"] == 0
