"""The stream: failures become strikes, and what soft limits count is counted. Two Faust apps in one process.

The first settles outcomes and has no table: after a kill, an app with a changelog to recover from was seen to pass over
records of its other topics. The second keeps the limits, where a record lost or counted twice does no harm.

Nothing may escape from an agent: an exception that leaves its loop loses the event (Faust acknowledges in a `finally`). So:
parse inside the guard, retry in place what can be retried, and put the rest among the dead letters.
"""

import asyncio
import struct
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import faust

from services.chassis import metrics, streams
from services.chassis.lifecycle import Lifecycle
from services.chassis.streams import Poison, header
from services.chassis.telemetry import TRACEPARENT, error_name, logger, raised_at
from services.lockout import outcomes, topics
from services.lockout.batches import in_batches
from services.lockout.counting import packed, unpacked
from services.lockout.faust_apps import new_app, raw_topic
from services.lockout.limits import Limit, register
from services.lockout.outcomes import Counted
from services.lockout.penalties import PenaltyStore, RecentPenalties
from services.lockout.settings import LockoutSettings
from services.lockout.store import LockoutStore

E = TypeVar("E")

_AT = struct.Struct(">d")
_HANDLER_TIMEOUT_S = 10.0


async def run_stream(settings: LockoutSettings, life: Lifecycle, store: LockoutStore, penalties: PenaltyStore) -> None:
    """Runs until told to stop. An app that crashes ends the process: it is then started anew, with clean hands."""
    with tempfile.TemporaryDirectory(prefix="zasov-stream-") as folder:
        # An app whose start has failed cannot be started again.
        await streams.until_kafka_is_there(settings)
        apps = [outcomes_app(settings, store, folder), limits_app(settings, penalties, folder, store.beat)]
        await asyncio.gather(*(app.start() for app in apps))
        beats = asyncio.create_task(_beat_for_ever(settings, raw_topic(apps[0], settings, topics.LIMITS), store))
        ready = asyncio.create_task(_ready_when_recovered(apps, life))
        stop = asyncio.create_task(life.stopping())
        ended = [asyncio.create_task(app.wait_until_stopped()) for app in apps]
        await asyncio.wait([stop, beats, *ended], return_when=asyncio.FIRST_COMPLETED)
        beats.cancel()
        ready.cancel()
        if not stop.done():
            stop.cancel()
            for reason in [app.crash_reason for app in apps if app.crash_reason is not None]:
                logger().error("a Faust app crashed", error=error_name(reason), where=raised_at(reason))
            # What is left of a crashed app may hold database connections for ever.
            life.give_up()
            raise RuntimeError("a Faust app stopped by itself")
        await asyncio.gather(*(app.stop() for app in apps))
        await asyncio.gather(*ended)


async def _ready_when_recovered(apps: Sequence["faust.App"], life: Lifecycle) -> None:
    """Once partitions are assigned and the table is recovered. Not by a beat: it comes to one of several workers alone."""
    await asyncio.gather(*(app.tables.recovery.completed.wait() for app in apps))
    life.ready()


async def _beat_for_ever(settings: LockoutSettings, limits: Any, store: LockoutStore) -> None:
    """Goes all the way that the limits go, so that it stops when they do."""

    async def beat() -> None:
        now = await store.now()
        await (await limits.send(key=topics.BEAT, value=_AT.pack(now.timestamp())))

    while True:
        await _until_done("beat", beat)
        await asyncio.sleep(settings.stream_beat_s)


def outcomes_app(settings: LockoutSettings, store: LockoutStore, folder: str) -> "faust.App":
    """Settles what auth has published."""
    app = new_app(settings, topics.OUTCOMES_APP, folder)
    dead_letters = raw_topic(app, settings, topics.DEAD_LETTERS)

    @app.agent(raw_topic(app, settings, streams.AUTH_EVENTS), name="outcomes")
    async def settle_outcomes(stream: Any) -> None:
        async def settle(batch: list[Any]) -> None:
            events, _ = await _parse(batch, outcomes.parse_auth, dead_letters)
            await _until_done("outcomes", lambda: outcomes.settle(events, store, _traces(batch)))

        await in_batches(stream, _of_kinds(outcomes.AUTH_KINDS), settings.stream_batch, settle)

    wanted = _of_kinds(outcomes.AUTH_KINDS)

    @app.agent(raw_topic(app, settings, topics.RETRIES), name="retries")
    async def settle_retries(stream: Any) -> None:
        """Dead letters that were handed out again. Soft limits don't count them: their time is over."""
        async for event in stream.events():
            came_from = header(_pairs(event.headers), streams.TOPIC)
            if came_from != settings.topic_prefix + streams.AUTH_EVENTS or not wanted(event):
                await _bury(event, dead_letters, "nothing here handles it")
                continue
            events, _ = await _parse([event], outcomes.parse_auth, dead_letters)
            await _until_done("outcomes", lambda: outcomes.settle(events, store, _traces([event])))  # noqa: B023

    return app


def limits_app(
    settings: LockoutSettings, penalties: PenaltyStore, folder: str, hear: Callable[[datetime], Awaitable[None]]
) -> "faust.App":
    """Re-keys what soft limits count, keeps one TAT a key, and imposes penalties. hear: told of each beat that came through.

    It reads auth's events for itself: settling them takes longer than counting, and a spray would pass while it is behind.
    """
    app = new_app(settings, topics.LIMITS_APP, folder)
    limits, dead_letters = raw_topic(app, settings, topics.LIMITS), raw_topic(app, settings, topics.DEAD_LETTERS)
    # By types and not by a Schema: a table takes no heed of a schema's serializers, and could not read its changelog again.
    table = app.Table(topics.TABLE, default=float, key_type=bytes, value_type=float, partitions=settings.stream_partitions)
    rules, recent = settings.limits(), RecentPenalties()

    async def count(counts: Sequence[Counted]) -> None:
        records = packed(counts, settings.stream_partitions)
        sent = [await limits.send(key=b"", value=record, partition=partition) for partition, record in records.items()]
        await asyncio.gather(*sent)

    @app.agent(raw_topic(app, settings, streams.AUTH_EVENTS), name="failures")
    async def count_failures(stream: Any) -> None:
        async def count_all(batch: list[Any]) -> None:
            # What can't be read is put aside by the app that settles it.
            _, new = await _parse(batch, outcomes.parse_auth, dead_letters=None)
            await _until_done("limits", lambda: count(outcomes.counted(new)))

        await in_batches(stream, _of_kinds(outcomes.FAILURE_KINDS), settings.stream_batch, count_all)

    @app.agent(raw_topic(app, settings, streams.OTP_EVENTS), name="codes")
    async def count_codes(stream: Any) -> None:
        async def count_all(batch: list[Any]) -> None:
            _, new = await _parse(batch, outcomes.parse_otp, dead_letters)
            await _until_done("limits", lambda: count(outcomes.counted_codes(new)))

        await in_batches(stream, _of_kinds(outcomes.OTP_KINDS), settings.stream_batch, count_all)

    def penalty_of(one: Counted) -> tuple[Counted, Limit, datetime]:
        rule = rules[one.key.dimension]
        return one, rule, datetime.fromtimestamp(one.at, UTC) + timedelta(seconds=rule.penalty_s)

    async def impose(one: Counted, until: datetime) -> None:
        recent.note(one.key, one.at, until.timestamp(), imposed=await penalties.impose(one.key, until))

    @app.agent(limits, name="limits")
    async def keep_limits(stream: Any) -> None:
        async for event in stream.events():
            try:
                if event.key == topics.BEAT:
                    (at,) = _AT.unpack(event.value)
                    beat_at = datetime.fromtimestamp(at, UTC)
                    await _until_done("beat", lambda: hear(beat_at))  # noqa: B023
                    continue
                counts = [penalty_of(one) for one in unpacked(event.value)]
            except (ValueError, KeyError, TypeError, OverflowError, struct.error):
                await _bury(event, dead_letters)
                continue
            for one, rule, until in counts:
                name = one.key.to_text().encode()
                table[name], tripped = register(table[name], one.at, rule)
                if tripped and not recent.covers(one.key, one.at):
                    await _until_done("penalties", lambda: impose(one, until))  # noqa: B023

    return app


def _of_kinds(kinds: frozenset[str]) -> Callable[[Any], bool]:
    return lambda event: header(_pairs(event.headers), "ce_type") in kinds


def _traces(batch: Sequence[Any]) -> dict[str, str]:
    """By event id."""
    headers = [_pairs(event.headers) for event in batch]
    return {header(one, "ce_id") or "": header(one, TRACEPARENT) or "" for one in headers}


async def _parse(batch: Sequence[Any], parse: Callable[[bytes], E], dead_letters: Any) -> tuple[list[E], list[E]]:
    """All in order; and those that were not published again from history, which soft limits would count twice.

    dead_letters: where poison goes; None: it is left to others.
    """
    parsed: list[E] = []
    new: list[E] = []
    for event in batch:
        try:
            parsed.append(parse(event.value))
        except Poison:
            if dead_letters is not None:
                await _bury(event, dead_letters)
            continue
        if not streams.is_republished(_pairs(event.headers)):
            new.append(parsed[-1])
    return parsed, new


async def _bury(event: Any, dead_letters: Any, reason: str = "not readable") -> None:
    async def bury() -> None:
        headers = streams.whence(event.message, _pairs(event.headers), reason)
        await (await dead_letters.send(key=event.key, value=event.value, headers=headers))
        metrics.DEAD_LETTERS.inc()

    await _until_done("dead letters", bury)


def _pairs(headers: Any) -> Sequence[tuple[str, bytes]]:
    return list(headers.items()) if isinstance(headers, dict) else (headers or [])


async def _until_done(what: str, work: Callable[[], Awaitable[object]]) -> None:
    """An event that is skipped is an event that is lost; and a handler that hangs would block every rebalance."""
    pause, attempt = 0.05, 0
    while True:
        try:
            async with asyncio.timeout(_HANDLER_TIMEOUT_S):
                await work()
            metrics.CONSUMED_EVENTS.labels(what, "done").inc()
            return
        except Exception as error:
            attempt += 1
            metrics.CONSUME_RETRIES.labels(what).inc()
            logger().warning("stream tries again", where=what, error=error_name(error), attempt=attempt)
            await asyncio.sleep(pause)
            pause = min(2.0, pause * 2)
