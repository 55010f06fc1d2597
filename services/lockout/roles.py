"""Composition roots: each role's parts, put together."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta

from zasov.lockout.v1.lockout_service_pb2_grpc import add_LockoutServiceServicer_to_server

from services.chassis import outbox_relay, streams
from services.chassis.lifecycle import Lifecycle
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import AWAY, open_database
from services.chassis.protocol_trace import open_trace
from services.chassis.replay import DeadLetterTopics
from services.chassis.rpc_server import serving
from services.chassis.telemetry import error_name, logger
from services.lockout import topics
from services.lockout.penalties import PenaltyStore
from services.lockout.servicer import LockoutServicer
from services.lockout.settings import LockoutSettings
from services.lockout.store import SWEEP_BATCH, LockoutStore
from services.lockout.stream import run_stream
from services.lockout.turnstile import Turnstile

# What only soft limits count is not replayed: its time is over.
DEAD_LETTER_TOPICS = DeadLetterTopics(topics.DEAD_LETTERS, topics.RETRIES, {streams.AUTH_EVENTS})
SERVICE_NAMES = ("zasov.lockout.v1.LockoutService",)


async def server(settings: LockoutSettings, life: Lifecycle) -> None:
    """Admits, settles, and sweeps what was lost: it works while Kafka doesn't."""
    async with AsyncExitStack() as stack:
        trace = stack.enter_context(open_trace(settings.protocol_trace, "lockout", "server"))
        database = await stack.enter_async_context(open_database(settings))
        store = LockoutStore(database, OutboxWaker(database), trace)
        turnstile = Turnstile(settings.admission_wait_s, settings.admission_longest_s, settings.admission_poll_s)
        servicer = LockoutServicer(
            store,
            turnstile,
            outcome_within_ms=int(settings.sweep_age_s * 1000 / 2),
            stream_away_after=timedelta(seconds=settings.stream_away_after_s),
        )
        life.keep_running(_sweep_for_ever(settings, store), "sweep")
        add = [lambda grpc_server: add_LockoutServiceServicer_to_server(servicer, grpc_server)]
        async with serving(settings, life, add, SERVICE_NAMES):
            await life.stopping()


async def stream(settings: LockoutSettings, life: Lifecycle) -> None:
    """The Faust worker: strikes, blocks, soft limits."""
    async with AsyncExitStack() as stack:
        trace = stack.enter_context(open_trace(settings.protocol_trace, "lockout", "stream"))
        database = await stack.enter_async_context(open_database(settings))
        waker = OutboxWaker(database)
        await run_stream(settings, life, LockoutStore(database, waker, trace), PenaltyStore(waker))


async def relay(settings: LockoutSettings, life: Lifecycle) -> None:
    await outbox_relay.relay(settings, life, service="lockout", topic=streams.LOCKOUT_EVENTS, envelope="LockoutEvent")


async def _sweep_for_ever(settings: LockoutSettings, store: LockoutStore) -> None:
    while True:
        await asyncio.sleep(settings.sweep_every_s)
        try:
            await _sweep_all(settings, store)
        except AWAY as error:
            logger().warning("sweep put off", error=error_name(error))


async def _sweep_all(settings: LockoutSettings, store: LockoutStore) -> None:
    await store.forget_strangers(timedelta(days=settings.stranger_block_days))
    while count := await store.sweep(timedelta(seconds=settings.sweep_age_s)):
        logger().warning("attempts were lost and count as wrong", count=count)
        if count < SWEEP_BATCH:
            return
