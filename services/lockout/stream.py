"""The Faust app. Nothing may escape from an agent: an exception that leaves its loop loses the event (Faust acknowledges
in a `finally`). So: parse inside the guard, retry in place what can be retried, and put the rest among the dead letters.
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
from services.chassis.telemetry import error_name, logger
from services.lockout import outcomes, topics
from services.lockout.batches import in_batches
from services.lockout.limits import register
from services.lockout.outcomes import Counted
from services.lockout.penalties import LimitKey, PenaltyStore
from services.lockout.settings import LockoutSettings
from services.lockout.store import LockoutStore

E = TypeVar("E")

_AT = struct.Struct(">d")
_HANDLER_TIMEOUT_S = 10.0


async def run_stream(settings: LockoutSettings, life: Lifecycle, store: LockoutStore, penalties: PenaltyStore) -> None:
    """Runs until told to stop. A worker that crashes ends the process: it is then started anew, with clean hands."""
    with tempfile.TemporaryDirectory(prefix="zasov-stream-") as folder:
        app = build_app(settings, store, penalties, folder)
        await streams.until_kafka_answers(app.start)
        life.ready()
        stop = asyncio.create_task(life.stopping())
        crashed = asyncio.create_task(app.wait_until_stopped())
        await asyncio.wait({stop, crashed}, return_when=asyncio.FIRST_COMPLETED)
        if not stop.done():
            stop.cancel()
            raise RuntimeError("the Faust app stopped by itself")
        await app.stop()
        await crashed


def build_app(settings: LockoutSettings, store: LockoutStore, penalties: PenaltyStore, folder: str) -> "faust.App":
    """The app, its topics, its table and its three agents."""
    prefix = settings.topic_prefix
    app = faust.App(
        prefix + topics.APP_ID,
        broker=[f"kafka://{address}" for address in settings.kafka_bootstrap.split(",")],
        datadir=folder,
        store="memory://",
        web_enabled=False,
        loop=asyncio.get_running_loop(),
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.stream_partitions,
        broker_session_timeout=settings.stream_session_timeout_s,
        broker_heartbeat_interval=settings.stream_session_timeout_s / 3,
        broker_request_timeout=max(20.0, settings.stream_session_timeout_s),
        broker_max_poll_interval=120.0,
        broker_commit_interval=0.5,
        producer_request_timeout=30.0,
        producer_acks=-1,
        stream_buffer_maxsize=256,
        consumer_auto_offset_reset="earliest",
    )
    # The setting above alone does not keep Faust from serving /table to the world.
    app.boot_strategy.enable_web = False

    def topic(name: str) -> Any:
        # Faust's own decoding acknowledges a record before it throws: raw bytes, parsed under our guard.
        return app.topic(prefix + name, key_serializer="raw", value_serializer="raw", partitions=settings.stream_partitions)

    dead_letters = topic(topics.DEAD_LETTERS)
    limits = topic(topics.LIMITS)
    # By types and not by a Schema: a table takes no heed of a schema's serializers, and could not read its changelog again.
    table = app.Table(topics.TABLE, default=float, key_type=bytes, value_type=float, partitions=settings.stream_partitions)
    rules = settings.limits()

    async def bury(event: Any) -> None:
        metrics.CONSUMED_EVENTS.labels("stream", "poison").inc()
        await (await dead_letters.send(key=event.key, value=event.value, headers=event.headers))

    async def count(keys: Sequence[Counted]) -> None:
        sent = [await limits.send(key=one.key.to_text().encode(), value=_AT.pack(one.at)) for one in keys]
        await asyncio.gather(*sent)

    @app.agent(topic(streams.AUTH_EVENTS), name="outcomes")
    async def settle_outcomes(stream: Any) -> None:
        async def settle(batch: list[Any]) -> None:
            events = await _parse(batch, outcomes.parse_auth, bury)
            await _until_done("outcomes", lambda: outcomes.settle(events, store))
            await _until_done("limits", lambda: count(outcomes.counted(events)))

        await in_batches(stream, _of_kinds(outcomes.AUTH_KINDS), settings.stream_batch, settle)

    @app.agent(topic(streams.OTP_EVENTS), name="codes")
    async def count_codes(stream: Any) -> None:
        async def count_all(batch: list[Any]) -> None:
            events = await _parse(batch, outcomes.parse_otp, bury)
            await _until_done("limits", lambda: count(outcomes.counted_codes(events)))

        await in_batches(stream, _of_kinds(outcomes.OTP_KINDS), settings.stream_batch, count_all)

    @app.agent(limits, name="limits")
    async def keep_limits(stream: Any) -> None:
        async for event in stream.events():
            try:
                key, (at,) = LimitKey.from_text(event.key.decode()), _AT.unpack(event.value)
                rule = rules[key.dimension]
                until = datetime.fromtimestamp(at, UTC) + timedelta(seconds=rule.penalty_s)
            except (ValueError, KeyError, AttributeError, TypeError, OverflowError, struct.error):
                await _until_done("dead letters", lambda: bury(event))  # noqa: B023
                continue
            tat, tripped = register(table[event.key], at, rule)
            table[event.key] = tat
            if tripped:
                await _until_done("penalties", lambda: penalties.impose(key, until))  # noqa: B023

    return app


def _of_kinds(kinds: frozenset[str]) -> Callable[[Any], bool]:
    return lambda event: header(_pairs(event.headers), "ce_type") in kinds


async def _parse(batch: Sequence[Any], parse: Callable[[bytes], E], bury: Callable[[Any], Awaitable[None]]) -> list[E]:
    parsed = []
    for event in batch:
        try:
            parsed.append(parse(event.value))
        except Poison:
            await _until_done("dead letters", lambda: bury(event))  # noqa: B023
    return parsed


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
