"""The Faust worker as a process of its own, on a real Kafka and a PostgreSQL that is its own to be killed."""

import asyncio
import http.client
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import uuid6
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from zasov.events.v1.auth_event_pb2 import AuthEvent, LoginFailed, LoginSucceeded, PasswordReset
from zasov.events.v1.lockout_event_pb2 import LockoutEvent
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, EventMeta, Origin
from zasov.events.v1.otp_event_pb2 import OtpEvent, OtpIssued

import services.chassis
import services.lockout
from devstack.child import Child
from devstack.kafka import Topic, create_topics
from devstack.postgres import Postgres
from devstack.waiting import free_port
from devstack.waiting import until as until_sync
from services.chassis import streams
from services.chassis.eventstore import type_of
from services.chassis.postgres import migrate
from services.chassis.replay import DeadLetter, replay
from services.lockout import store as outcome
from services.lockout import topics
from services.lockout.roles import DEAD_LETTER_TOPICS
from services.lockout.settings import LockoutSettings
from tests.integration.kafka_records import reading
from tests.integration.lockout.conftest import Lockout, Someone, lockout_at
from tests.integration.rebuilding import assert_rows_are_their_events
from tests.integration.waiting import until

PARTITIONS = 4
BURST = 3
Event = tuple[bytes, bytes, str]  # key, value, ce_type


class Worker:
    """`python -m services.lockout stream`, its PostgreSQL and its topics."""

    def __init__(self, postgres: Postgres, url: str, bootstrap: str, prefix: str, log: Path) -> None:
        self.postgres, self.url, self.bootstrap, self.prefix = postgres, url, bootstrap, prefix
        self._log = log
        self._port = free_port()
        self.process: Child | None = None

    def start(self) -> Child:
        """Returns when it says that it is ready."""
        own = {
            "POSTGRES_URL": self.url,
            "KAFKA_BOOTSTRAP": self.bootstrap,
            "TOPIC_PREFIX": self.prefix,
            "METRICS_LISTEN": f"127.0.0.1:{self._port}",
            "STREAM_PARTITIONS": str(PARTITIONS),
            "STREAM_SESSION_TIMEOUT_S": "3",
            "FAILURES_BY_IP_BURST": str(BURST),
            "FAILURES_BY_IP_INTERVAL_S": "3600",
            "FAILURES_BY_RANGE_BURST": str(BURST),
            "FAILURES_BY_RANGE_INTERVAL_S": "3600",
            "STREAM_BEAT_S": "0.2",
        }
        env = dict(os.environ) | {f"ZASOV_LOCKOUT_{name}": value for name, value in own.items()}
        command = [sys.executable, "-W", "ignore", "-m", "services.lockout", "stream"]
        self.process = child = Child(command, log=self._log, env=env)

        def ready() -> bool:
            assert child.is_alive, child.log_tail()
            return self._get("/ready") == 200

        until_sync("the stream", ready, timeout=30)
        return child

    def running(self) -> Child:
        return self.process if self.process and self.process.is_alive else self.start()

    def _get(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except OSError:
            return 0
        finally:
            connection.close()


@pytest.fixture(scope="module")
def worker(kafka_bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("stream")
    prefix = f"test-{uuid4().hex[:12]}."
    postgres = Postgres(folder)
    postgres.init()
    postgres.start()
    postgres.wait_ready()
    url = postgres.create_database("lockout")
    until_sync("migrated", lambda: _run_apart(migrated(url)))
    _run_apart(create_topics(kafka_bootstrap, topics_of(prefix)))
    worker = Worker(postgres, url, kafka_bootstrap, prefix, folder / "stream.log")
    yield worker
    if worker.process:
        worker.process.stop()
    postgres.stop()
    postgres.destroy()


def topics_of(prefix: str) -> tuple[Topic, ...]:
    plain = (streams.AUTH_EVENTS, streams.OTP_EVENTS, topics.LIMITS, topics.DEAD_LETTERS, topics.RETRIES)
    changelog = Topic(prefix + topics.CHANGELOG, PARTITIONS, {"cleanup.policy": "compact"})
    return (*(Topic(prefix + name, PARTITIONS) for name in plain), changelog)


async def migrated(url: str) -> bool:
    folders = [Path(str(package.__file__)).parent / "migrations" for package in (services.chassis, services.lockout)]
    await migrate(LockoutSettings(postgres_url=url), folders)
    return True


def _run_apart(work: Any) -> bool:
    """Beside pytest-asyncio's loop."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        return bool(pool.submit(asyncio.run, work).result() or True)


@pytest.fixture
async def lockout(worker: Worker) -> AsyncIterator[Lockout]:
    worker.running()
    async with lockout_at(worker.url, pool_size=5) as lockout:
        yield lockout


@asynccontextmanager
async def looking_again(worker: Worker) -> AsyncIterator[Lockout]:
    """New connections, after PostgreSQL was killed."""
    async with lockout_at(worker.url, pool_size=5) as lockout:
        yield lockout
        await assert_rows_are_their_events(lockout.sql, "lockout")


def auth_event(stream_id: UUID, fact: Any, origin: Origin | None = None) -> Event:
    meta = EventMeta(event_id=str(uuid6.uuid7()), stream_id=str(stream_id), version=1, origin=origin)
    # All of a test's failures happen at one moment: what comes out of order by milliseconds could trip a limit one too early.
    meta.occurred_at.FromSeconds(int(time.time()))
    names = {"LoginFailed": "login_failed", "LoginSucceeded": "login_succeeded", "PasswordReset": "password_reset"}
    event = AuthEvent(meta=meta, **{names[type_of(fact)]: fact})
    return str(stream_id).encode(), event.SerializeToString(), type_of(fact)


def failed(who: Someone, attempt_id: UUID, origin: Origin | None = None) -> Event:
    # A stranger's events come under a pseudonym that leads to nobody.
    stream_id = uuid4() if who.stranger else who.owner
    fact = LoginFailed(attempt_id=str(attempt_id), credential=CREDENTIAL_PASSWORD, identifier_known=not who.stranger)
    return auth_event(stream_id, fact, origin)


def otp_issued(origin: Origin) -> Event:
    meta = EventMeta(event_id=str(uuid6.uuid7()), stream_id=str(uuid4()), version=1, origin=origin)
    meta.occurred_at.FromSeconds(int(time.time()))
    return meta.stream_id.encode(), OtpEvent(meta=meta, otp_issued=OtpIssued()).SerializeToString(), "OtpIssued"


async def publish(
    worker: Worker, events: Sequence[Event], topic: str = streams.AUTH_EVENTS, more: Sequence[tuple[str, bytes]] = ()
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=worker.bootstrap, enable_idempotence=True, acks="all")
    await producer.start()
    try:
        sent = [
            await producer.send(
                worker.prefix + topic, value, key=key, headers=[("ce_type", kind.encode()), *more] if kind else []
            )
            for key, value, kind in events
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def until_strikes(lockout: Lockout, who: Someone, strikes: int, timeout_s: float = 15.0) -> None:
    async def there() -> bool:
        return (await lockout.state(who))[0] == strikes

    await until(f"{strikes} strikes", there, timeout_s)


async def until_caught_up(worker: Worker, lockout: Lockout) -> None:
    """One more failure on every partition: when all are strikes, whatever was published before has been handled."""
    others = [Someone() for _ in range(PARTITIONS * 6)]
    await publish(worker, [failed(one, await lockout.open_attempt(one)) for one in others])
    for one in others:
        await until_strikes(lockout, one, 1)


async def until_limits_caught_up(worker: Worker) -> None:
    """The limits' app has committed all that it reads: the events, and then what it has made of them."""
    group = worker.prefix + topics.LIMITS_APP
    admin, consumer = (kind(bootstrap_servers=worker.bootstrap) for kind in (AIOKafkaAdminClient, AIOKafkaConsumer))
    await admin.start()
    await consumer.start()

    async def is_read(topic: str) -> bool:
        partitions = [TopicPartition(worker.prefix + topic, number) for number in range(PARTITIONS)]
        ends = await consumer.end_offsets(partitions)
        committed = await admin.list_consumer_group_offsets(group, partitions=partitions)
        return all(committed[one].offset >= ends[one] for one in partitions if ends[one])

    try:
        for topic in (streams.AUTH_EVENTS, streams.OTP_EVENTS, topics.LIMITS):
            await until(f"{topic} is counted", lambda: is_read(topic))  # noqa: B023
    finally:
        await consumer.stop()
        await admin.close()


@pytest.mark.row("M3")
async def test_a_failed_login_becomes_a_strike_and_the_third_a_block(worker: Worker, lockout: Lockout) -> None:
    who, took = Someone(), []
    for strikes in (1, 2, 3):
        attempt_id = await lockout.open_attempt(who)
        started = time.perf_counter()
        await publish(worker, [failed(who, attempt_id)])
        await until_strikes(lockout, who, strikes)
        took.append(time.perf_counter() - started)
    assert await lockout.events(who) == ["StrikeRecorded"] * 3 + ["AccountBlocked"]
    assert await lockout.state(who) == (3, True, 0, 0)


@pytest.mark.row("B2")
async def test_a_strangers_failure_is_found_by_its_attempt(worker: Worker, lockout: Lockout) -> None:
    who = Someone(stranger=True)
    await publish(worker, [failed(who, await lockout.open_attempt(who)) for _ in range(3)])
    await until_strikes(lockout, who, 3)
    assert not await lockout.sql.fetchval("SELECT bool_or(is_public) FROM event WHERE stream_id = $1", who.id)


@pytest.mark.row("B1")
async def test_redelivered_and_reordered_failures_count_once(worker: Worker, lockout: Lockout) -> None:
    who = Someone()
    one, other = await lockout.open_attempt(who), await lockout.open_attempt(who)
    first, second = failed(who, one), failed(who, other)
    await publish(worker, [second, first, second, first, first])
    await publish(worker, [second, failed(who, uuid4()), failed(Someone(), uuid4())])
    await until_caught_up(worker, lockout)
    assert await lockout.state(who) == (2, False, 0, 0)


@pytest.mark.row("B1")
async def test_a_late_success_resets_nothing_unless_its_attempt_is_open(worker: Worker, lockout: Lockout) -> None:
    who, restored = Someone(), Someone()
    settled, still_open = await lockout.open_attempt(who), await lockout.open_attempt(restored)
    assert await lockout.store.settle_right(who.key, settled, [])
    await lockout.strike(who, 2)
    await lockout.strike(restored, 1)
    for one, attempt_id in ((who, settled), (restored, still_open)):
        success = LoginSucceeded(attempt_id=str(attempt_id), credential=CREDENTIAL_PASSWORD)
        await publish(worker, [auth_event(one.owner, success)] * 2)
    await until_caught_up(worker, lockout)
    assert await lockout.state(who) == (2, False, 0, 0)
    assert await lockout.state(restored) == (0, False, 0, 0)


@pytest.mark.row("M3")
async def test_a_new_password_lifts_the_block_once_and_an_old_one_does_not(worker: Worker, lockout: Lockout) -> None:
    who = Someone()
    await lockout.strike(who, 3)
    reset = auth_event(who.owner, PasswordReset(credential_version=2))
    await publish(worker, [reset, auth_event(who.owner, PasswordReset(credential_version=1)), reset])
    await until_caught_up(worker, lockout)
    assert await lockout.state(who) == (0, False, 2, 0)
    assert (await lockout.events(who))[-2:] == ["EpochRaised", "AccountUnblocked"]


@pytest.mark.row("B7")
async def test_poison_goes_to_the_dead_letters_and_the_stream_goes_on(worker: Worker, lockout: Lockout) -> None:
    who = Someone()
    attempt_id = await lockout.open_attempt(who)
    key, good, kind = failed(who, attempt_id)
    nobodys = AuthEvent.FromString(good)
    nobodys.meta.stream_id = "nobody"
    poison = [b"\xff\xff junk", b"", nobodys.SerializeToString()]
    await publish(worker, [*((key, value, "LoginFailed") for value in poison), (key, good, kind)])
    await publish(worker, [(key, b"junk of a kind that is of no interest", "Whatever"), (key, b"no headers", "")])
    await publish(worker, [(b"no key", b"12345678", ""), (b"1:2026-03:aa", b"short", "")], topics.LIMITS)
    async with reading(worker.bootstrap, worker.prefix + topics.DEAD_LETTERS, PARTITIONS) as dead:
        records = await dead.until(lambda records: len(records) >= 5)
        await until_strikes(lockout, who, 1)
    assert sorted(record.value for record in records) == sorted([*poison, b"12345678", b"short"])
    assert [record.value for record in records if record.key == key] == poison, "as they came, with the key they had"


@pytest.mark.row("B7")
async def test_an_outcome_that_was_put_aside_is_settled_once_when_it_is_replayed(worker: Worker, lockout: Lockout) -> None:
    who = Someone()
    key, value, kind = failed(who, await lockout.open_attempt(who))
    settings = LockoutSettings(postgres_url=worker.url, kafka_bootstrap=worker.bootstrap, topic_prefix=worker.prefix)

    def dead(topic: str, value: bytes) -> DeadLetter:
        headers = [("ce_type", kind.encode()), (streams.TOPIC, (worker.prefix + topic).encode()), (streams.OFFSET, b"1:2")]
        record = ConsumerRecord(topics.DEAD_LETTERS, 0, 7, 0, 0, key, value, None, len(key), len(value), headers)
        return DeadLetter(record, worker.prefix)

    # As a stream that had a bug put it aside.
    for _ in range(2):
        assert not await replay(settings, DEAD_LETTER_TOPICS, [dead(streams.AUTH_EVENTS, value)])
    await until_strikes(lockout, who, 1)
    unreadable, of_otp = dead(streams.AUTH_EVENTS, b"still junk"), dead(streams.OTP_EVENTS, b"of otp")
    assert await replay(settings, DEAD_LETTER_TOPICS, [unreadable, of_otp]) == [of_otp]
    # And what a foreign writer puts there, that would do for an outcome but for where it says it comes from.
    other, stranger = failed(who, await lockout.open_attempt(who)), replace(DEAD_LETTER_TOPICS, handled={streams.OTP_EVENTS})
    assert not await replay(settings, stranger, [dead(streams.OTP_EVENTS, other[1])])
    async with reading(worker.bootstrap, worker.prefix + topics.DEAD_LETTERS, PARTITIONS) as letters:
        records = await letters.until(lambda records: {b"still junk", other[1]} <= {one.value for one in records})
    (again,) = [one for one in records if one.value == b"still junk"]
    assert streams.header(again.headers, streams.OFFSET) == "1:2"
    await until_caught_up(worker, lockout)
    assert (await lockout.state(who))[0] == 1


async def test_too_many_failures_from_one_address_trip_its_limit_once(worker: Worker, lockout: Lockout) -> None:
    origin = Origin(key_id="2026-03", ip_pseudonym=uuid4().hex, subnet_pseudonym=uuid4().hex)
    everyone = [Someone() for _ in range(BURST + 4)]
    events = [failed(one, await lockout.open_attempt(one), origin) for one in everyone]
    await publish(worker, events[:BURST])
    await until_caught_up(worker, lockout)
    assert not await lockout.sql.fetch("SELECT FROM penalty")
    await publish(worker, events[BURST:])

    async def imposed() -> Any:
        return await lockout.sql.fetchrow("SELECT *, until - clock_timestamp() AS left FROM penalty")

    penalty = await until("the penalty", imposed)
    assert (penalty["pseudonym"], penalty["dimension"]) == (origin.ip_pseudonym, 1)
    assert 580 < penalty["left"].total_seconds() <= 600
    await until_caught_up(worker, lockout)
    rows = await lockout.sql.fetch("SELECT data, is_public FROM event WHERE type = 'LimitTripped'")
    assert [row["is_public"] for row in rows] == [True]
    assert LockoutEvent.FromString(rows[0]["data"]).limit_tripped.pseudonym == origin.ip_pseudonym


@pytest.mark.row("B5")
async def test_a_refill_of_the_topics_settles_and_strikes_but_trips_no_limit(worker: Worker, lockout: Lockout) -> None:
    """What is published again was counted when it happened. An outcome that the stream never met is settled all the same."""
    before = await lockout.sql.fetchval("SELECT count(*) FROM penalty")
    origin = Origin(key_id="2026-03", ip_pseudonym=uuid4().hex, subnet_pseudonym=uuid4().hex)
    everyone = [Someone() for _ in range(BURST)]
    events = [failed(one, await lockout.open_attempt(one), origin) for one in everyone]
    codes = [otp_issued(origin) for _ in range(9)]
    await publish(worker, events)
    await publish(worker, codes, streams.OTP_EVENTS)
    again = [(streams.REPUBLISHED, b"true")]
    late = Someone()
    missed = failed(late, await lockout.open_attempt(late), origin)
    await publish(worker, [*events, missed, *events], more=again)
    await publish(worker, codes, streams.OTP_EVENTS, again)
    for one in (*everyone, late):
        await until_strikes(lockout, one, 1)
    await until_caught_up(worker, lockout)
    await until_limits_caught_up(worker)
    assert await lockout.sql.fetchval("SELECT count(*) FROM penalty") == before
    # The guard: were they counted, they would trip it.
    await publish(worker, [failed(Someone(), uuid4(), origin)])

    async def tripped() -> bool:
        return bool(await lockout.sql.fetchval("SELECT count(*) FROM penalty") > before)

    await until("the next new one is one too many", tripped)


@pytest.mark.row("B4")
async def test_too_many_failures_at_one_range_from_many_addresses_ask_for_a_captcha(worker: Worker, lockout: Lockout) -> None:
    number_range = uuid4().hex
    everyone = [Someone() for _ in range(BURST + 2)]
    events = []
    for one in everyone:
        origin = Origin(key_id="2026-03", ip_pseudonym=uuid4().hex, subnet_pseudonym=uuid4().hex, range_pseudonym=number_range)
        events.append(failed(one, await lockout.open_attempt(one), origin))
    await publish(worker, events)

    async def asked() -> bool:
        return isinstance(await lockout.store.admit(Someone().key, uuid4(), [number_range]), outcome.CaptchaRequired)

    await until("it is asked for", asked)
    assert isinstance(await lockout.store.admit(Someone().key, uuid4(), [number_range], True), outcome.Admitted)
    assert isinstance(await lockout.store.admit(Someone().key, uuid4(), [uuid4().hex]), outcome.Admitted)


@pytest.mark.row("B4")
async def test_a_spray_is_counted_though_settling_is_held_up(worker: Worker, lockout: Lockout) -> None:
    """Settling is the slower part: were counting behind it, a spray would pass every limit by all that is behind."""
    number_range = uuid4().hex
    origin = Origin(key_id="2026-03", ip_pseudonym=uuid4().hex, subnet_pseudonym=uuid4().hex, range_pseudonym=number_range)
    # On every partition.
    everyone = [Someone() for _ in range(PARTITIONS * 6)]
    events = [failed(one, await lockout.open_attempt(one), origin) for one in everyone]

    async def asked() -> bool:
        return isinstance(await lockout.store.admit(Someone().key, uuid4(), [number_range]), outcome.CaptchaRequired)

    async with lockout.sql.transaction():
        await lockout.sql.execute("SELECT FROM subject WHERE subject_id = ANY($1) FOR UPDATE", [one.id for one in everyone])
        await publish(worker, events)
        await until("it is counted", asked)
        assert [await lockout.state(one) for one in everyone] == [(0, False, 0, 1)] * len(everyone)
    for one in everyone:
        await until_strikes(lockout, one, 1, timeout_s=30)


@pytest.mark.row("B4")
@pytest.mark.kills
async def test_the_stream_shows_that_it_is_there_and_a_dead_one_does_not(worker: Worker, lockout: Lockout) -> None:
    worker.running()

    async def is_there(within_s: float) -> bool:
        return (await lockout.store.code_standing([], timedelta(seconds=within_s))).stream_there

    await until("a beat", lambda: is_there(2))
    worker.running().send(signal.SIGKILL)

    async def is_away() -> bool:
        return not await is_there(1)

    await until("its absence shows", is_away)
    worker.running()
    # The beat that made it ready may be as old as it took to get the dead one's partitions.
    await until("it is there again", lambda: is_there(5))


@pytest.mark.row("B7")
@pytest.mark.kills
async def test_while_postgresql_is_away_nothing_is_lost(worker: Worker) -> None:
    worker.running()
    everyone = [Someone() for _ in range(30)]
    async with lockout_at(worker.url, pool_size=5) as lockout:
        events = [failed(one, await lockout.open_attempt(one)) for one in everyone]
    worker.postgres.kill()
    await publish(worker, events)
    worker.postgres.start()
    worker.postgres.wait_ready()
    async with looking_again(worker) as lockout:
        for one in everyone:
            await until_strikes(lockout, one, 1)
        await until_caught_up(worker, lockout)
        assert [await lockout.events(one) for one in everyone] == [["StrikeRecorded"]] * 30
    assert worker.process is not None
    assert worker.process.is_alive, "it waited; it was not started anew"


@pytest.mark.row("B7")
@pytest.mark.kills
async def test_a_stream_that_is_stopped_while_postgresql_is_away_leaves_the_rest_to_its_successor(worker: Worker) -> None:
    process = worker.running()
    everyone = [Someone() for _ in range(30)]
    async with lockout_at(worker.url, pool_size=5) as lockout:
        events = [failed(one, await lockout.open_attempt(one)) for one in everyone]
    tried_before = process.log.read_text().count("stream tries again")
    worker.postgres.kill()
    await publish(worker, events)

    async def has_tried() -> bool:
        return process.log.read_text().count("stream tries again") > tried_before

    await until("it tries in vain", has_tried)
    await asyncio.to_thread(process.stop, 10.0)
    assert process.wait(0.1) == 0, "it ended by itself, and left what it had not settled unacknowledged"
    worker.postgres.start()
    worker.postgres.wait_ready()
    worker.running()
    async with looking_again(worker) as lockout:
        for one in everyone:
            await until_strikes(lockout, one, 1)


@pytest.mark.row("B1")
@pytest.mark.kills
async def test_a_stream_that_is_killed_loses_nothing_and_counts_nothing_twice(worker: Worker, lockout: Lockout) -> None:
    everyone = [Someone() for _ in range(150)]
    events = [failed(one, await lockout.open_attempt(one)) for one in everyone]
    await publish(worker, events)

    async def some_are_done() -> Any:
        return await lockout.sql.fetchval("SELECT count(*) FROM subject WHERE subject_id = ANY($1) AND strikes > 0", ids)

    ids = [one.id for one in everyone]
    await until("it is in the middle of it", some_are_done)
    worker.running().send(signal.SIGKILL)
    worker.running()
    for one in everyone:
        await until_strikes(lockout, one, 1, timeout_s=30)
    await until_caught_up(worker, lockout)
    counts = await lockout.sql.fetch("SELECT count(*) FROM event WHERE stream_id = ANY($1) GROUP BY stream_id", ids)
    assert [row["count"] for row in counts] == [1] * 150
    await assert_rows_are_their_events(lockout.sql, "lockout")


@pytest.mark.row("M21")
@pytest.mark.kills
async def test_sigterm_drains_the_stream_and_ends_it_well(worker: Worker, lockout: Lockout) -> None:
    who = Someone()
    await publish(worker, [failed(who, await lockout.open_attempt(who))])
    process = worker.running()
    assert await asyncio.to_thread(process.stop) == 0, process.log_tail()
    worker.running()
    await until_strikes(lockout, who, 1, timeout_s=30)
    assert await lockout.events(who) == ["StrikeRecorded"]


@pytest.mark.row("M21")
async def test_workers_that_join_are_all_ready_and_share_the_work(worker: Worker, lockout: Lockout, tmp_path: Path) -> None:
    """A beat comes to one of them alone: the others must not wait for it for ever."""
    worker.running()
    more = [
        Worker(worker.postgres, worker.url, worker.bootstrap, worker.prefix, tmp_path / f"{number}.log") for number in range(3)
    ]
    try:
        await asyncio.gather(*(asyncio.to_thread(one.start) for one in more))
        await until_caught_up(worker, lockout)
    finally:
        await asyncio.gather(*(asyncio.to_thread(one.process.stop) for one in more if one.process))
    await until_caught_up(worker, lockout)


async def make_topics_anew(worker: Worker) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=worker.bootstrap)
    await admin.start()
    names = {topic.name for topic in topics_of(worker.prefix)}
    await admin.delete_topics(list(names))

    async def gone() -> bool:
        return not names & set(await admin.list_topics())

    await until("the topics are gone", gone)
    await admin.close()
    await create_topics(worker.bootstrap, topics_of(worker.prefix))


@pytest.mark.row("B5")
@pytest.mark.kills
async def test_a_stream_that_was_stopped_while_its_topics_were_made_anew_reads_them_from_the_beginning(worker: Worker) -> None:
    """Kafka forgets a group's offsets with the topic; the changelog begins empty."""
    worker.running()
    async with lockout_at(worker.url, pool_size=5) as lockout:
        await until_caught_up(worker, lockout)
        await asyncio.to_thread(worker.running().stop)
        await make_topics_anew(worker)
        everyone = [Someone() for _ in range(3)]
        await publish(worker, [failed(one, await lockout.open_attempt(one)) for one in everyone])
        worker.running()
        for one in everyone:
            await until_strikes(lockout, one, 1, timeout_s=30)
        await until_caught_up(worker, lockout)
