"""What the event streams say, read back from Kafka as an analyst would, with the moment at which each record arrived."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from aiokafka import AIOKafkaConsumer
from zasov.events.v1.auth_event_pb2 import AuthEvent
from zasov.events.v1.lockout_event_pb2 import LockoutEvent
from zasov.events.v1.notifier_event_pb2 import NotifierEvent
from zasov.events.v1.otp_event_pb2 import OtpEvent

from services.chassis import streams
from services.chassis.eventstore import payload_of, type_of

ENVELOPES: dict[str, Any] = {
    streams.AUTH_EVENTS: AuthEvent,
    streams.OTP_EVENTS: OtpEvent,
    streams.LOCKOUT_EVENTS: LockoutEvent,
    streams.NOTIFIER_EVENTS: NotifierEvent,
}


@dataclass(frozen=True)
class Arrival:
    """One record. at: time.perf_counter() when this process had it."""

    kind: str
    payload: Any
    meta: Any
    at: float
    raw: bytes


class EventLog:
    """Follows the event topics; a context manager. Keeps all that has arrived, in order of arrival."""

    def __init__(self, bootstrap: str, *, from_start: bool = False, topic_prefix: str = "") -> None:
        self._bootstrap = bootstrap
        self._from_start = from_start
        self._prefix = topic_prefix
        self.arrivals: list[Arrival] = []
        self._changed = asyncio.Condition()

    async def __aenter__(self) -> Self:
        self._consumer = AIOKafkaConsumer(
            *(self._prefix + topic for topic in ENVELOPES),
            bootstrap_servers=self._bootstrap,
            auto_offset_reset="earliest" if self._from_start else "latest",
            fetch_max_wait_ms=100,
        )
        await self._consumer.start()
        if not self._from_start:
            # "Latest" is looked up at the first read; what happens from here on is to be seen.
            for partition in self._consumer.assignment():
                await self._consumer.position(partition)
        self._task = asyncio.create_task(self._follow())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        await self._consumer.stop()

    async def wait(self, wanted: Callable[[Arrival], bool], *, after: int = 0, timeout: float = 20.0) -> Arrival:
        """The first arrival from index `after` on that is wanted. Raises TimeoutError."""
        async with asyncio.timeout(timeout), self._changed:
            while True:
                found = next((one for one in self.arrivals[after:] if wanted(one)), None)
                if found is not None:
                    return found
                await self._changed.wait()

    async def _follow(self) -> None:
        async for record in self._consumer:
            arrival = self._read(record, time.perf_counter())
            async with self._changed:
                self.arrivals.append(arrival)
                self._changed.notify_all()

    def _read(self, record: Any, at: float) -> Arrival:
        envelope = ENVELOPES[record.topic.removeprefix(self._prefix)].FromString(record.value)
        payload = payload_of(envelope)
        return Arrival(type_of(payload), payload, envelope.meta, at, record.value)
