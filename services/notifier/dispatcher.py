"""Brings messages out: claims, records `submitting`, submits, stores what followed, reports.

A new message is handed over in memory the moment its row is committed; the poll finds what is left: retries that are due,
messages of dead workers, reports that were not taken. As many are in hand at once as the SMSCs' windows hold.
"""

import asyncio
import heapq
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

from opentelemetry.trace import SpanKind

from services.chassis.errors import ServiceError
from services.chassis.postgres import AWAY
from services.chassis.telemetry import context_of, error_name, logger, tracer
from services.notifier import domain, metrics
from services.notifier.channels import Channel, InDoubt, Outcome, Outgoing, PutOff, Refused, Taken
from services.notifier.domain import ChannelId, Message, State, Step
from services.notifier.errors import KNOWN, is_void, retry_after
from services.notifier.issuers import Claimed, Issuers
from services.notifier.limits.store import Recipient
from services.notifier.settings import NotifierSettings
from services.notifier.store import Leased, Store
from services.notifier.templates import Templates

T = TypeVar("T")
_RANDOM = random.SystemRandom()


class Overtaken(Exception):
    """The lease is over, or the message moved on: whoever has it now decides."""


class Dispatcher:
    def __init__(
        self,
        settings: NotifierSettings,
        store: Store,
        issuers: Issuers,
        templates: Templates,
        channels: Mapping[ChannelId, Channel],
    ) -> None:
        self._settings = settings
        self._policy = settings.policy()
        self._store = store
        self._issuers = issuers
        self._templates = templates
        self._channels = channels
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self._more = False  # more may be due than was taken
        self._woken = asyncio.Event()
        self._due_times: list[float] = []  # a heap: when messages that this process put off are due

    @property
    def can_send(self) -> bool:
        return bool(self._up())

    def _up(self) -> list[ChannelId]:
        return [name for name, channel in self._channels.items() if channel.is_up]

    @property
    def has_room(self) -> bool:
        """Whether a new message would be taken at once. If not it is stored as due, and found when a place is free."""
        if len(self._tasks) < self._settings.sms_in_hand and self.can_send and not self._draining:
            return True
        self._more = True
        return False

    def take(self, leased: Leased) -> None:
        """Works on it in the background."""
        task = asyncio.create_task(self._work(leased), name="dispatch")
        self._tasks.add(task)
        metrics.IN_HAND.set(len(self._tasks))
        task.add_done_callback(self._done)

    def wake(self) -> None:
        self._woken.set()

    async def run(self) -> None:
        """Looks for due messages, for ever."""
        while True:
            self._woken.clear()
            try:
                await self._take_due()
            except AWAY as error:
                logger().warning("due messages not read", error=error_name(error))
            await self._until_something_may_be_due()

    async def drain(self, grace_s: float) -> None:
        """Takes nothing new and lets what is in hand end. What does not end in time is taken over when its lease ends."""
        self._draining = True
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=grace_s)

    async def _take_due(self) -> None:
        free = self._settings.sms_in_hand - len(self._tasks)
        if free <= 0 or self._draining:
            self._more = True
            return
        found = await self._store.lease(free, self._up())
        self._more = len(found) == free
        for leased in found:
            self.take(leased)

    async def _until_something_may_be_due(self) -> None:
        now = asyncio.get_running_loop().time()
        while self._due_times and self._due_times[0] <= now:
            heapq.heappop(self._due_times)
        pause = min([self._settings.poll_interval_s, *(at - now for at in self._due_times[:1])])
        waits: list[asyncio.Task[Any]] = [asyncio.create_task(self._woken.wait())]
        # When a channel is back its messages go out at once.
        waits += [asyncio.create_task(channel.wait_up(pause)) for channel in self._channels.values() if not channel.is_up]
        try:
            await asyncio.wait(waits, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        metrics.IN_HAND.set(len(self._tasks))
        if self._more:
            self.wake()

    async def _work(self, leased: Leased) -> None:
        with tracer().start_as_current_span(
            f"dispatch {leased.message.kind}",
            context=context_of(leased.traceparent),
            kind=SpanKind.PRODUCER,
            record_exception=False,
            set_status_on_exception=False,
        ):
            try:
                message = await self._bring_out(leased)
                if message.report is not None:
                    await self._report(leased, message)
            except Overtaken:
                metrics.LEASES_LOST.inc()
            except Exception as error:
                # Whatever it was, the message comes up again when its lease ends; a bug must not stop the others.
                logger().error("dispatch failed", kind=leased.message.kind.value, error=error_name(error))

    async def _bring_out(self, leased: Leased) -> Message:
        """Up to where only the report is left, or where it must wait."""
        message = leased.message
        if message.state is State.SUBMITTING:
            return await self._settle(leased, domain.unknown(message, self._policy, leased.time.now()))
        if message.state is not State.PENDING:
            return message
        if self._is_too_late(leased):
            return await self._settle(leased, domain.expired(message))
        try:
            claimed = await self._issuers.claim(message)
        except ServiceError as error:
            return await self._settle(leased, self._after_failed_claim(leased, error))
        message = domain.claimed(message, claimed.channel)
        leased = replace(leased, message=message)
        channel = self._channels.get(claimed.channel)
        if channel is None or not self._templates.can_say(message.kind, claimed.channel):
            logger().error("no way to send this", kind=message.kind.value)
            return await self._settle(leased, domain.refused(message, 0))
        if not channel.is_up:
            return await self._settle(leased, domain.held_back(message))
        outgoing = self._outgoing(leased, claimed)
        if outgoing is None:
            return await self._settle(leased, domain.expired(message))
        return await self._submit(leased, channel, outgoing, claimed.recipient)

    async def _submit(self, leased: Leased, channel: Channel, outgoing: Outgoing, to: Recipient | None) -> Message:
        begun = await self._until_stored(leased, lambda: self._store.begin(leased, to))
        if begun is None or self._age(begun) > self._settings.lease_s / 2:
            # Suspended in between: by now another worker may be treating it as ambiguous.
            raise Overtaken
        message = begun.message
        if message.state is not State.SUBMITTING:
            return message  # over a limit
        if message.attempt == 1:
            metrics.EVENT_TO_SUBMIT.observe((begun.time.now() - message.created_at).total_seconds())
        async with self._lease_kept(begun):
            outcome = await channel.dispatch(replace(outgoing, reference=begun.reference))
        metrics.OUTCOMES.labels(message.kind, channel.id, type(outcome).__name__).inc()
        if isinstance(outcome, Taken):
            taken = outcome
            settled = await self._until_stored(
                begun, lambda: self._store.settle_submitted(begun, taken.provider_id, taken.message_ids)
            )
            if settled is None:
                raise Overtaken
            return settled
        return await self._settle(begun, self._after_submit(begun, outcome))

    def _after_submit(self, leased: Leased, outcome: Outcome) -> Step:
        message = leased.message
        match outcome:
            case PutOff():
                return domain.put_off(message, self._pause(message), leased.time.now())
            case Refused(0) if self._is_too_late(leased):
                return domain.expired(message)  # its validity ran out while it waited for the window
            case Refused(status):
                return domain.refused(message, status)
            case InDoubt():
                return domain.unknown(message, self._policy, leased.time.now())
            case Taken():
                raise AssertionError("stored with its ids")

    def _after_failed_claim(self, leased: Leased, error: ServiceError) -> Step:
        if is_void(error):
            return domain.void(leased.message)
        metrics.CLAIM_FAILURES.labels(error.reason if error.reason in KNOWN else "other").inc()
        pause = retry_after(error, self._pause(leased.message))
        return domain.put_off(leased.message, pause, leased.time.now())

    def _outgoing(self, leased: Leased, claimed: Claimed) -> Outgoing | None:
        """None: it could only arrive when it is worth nothing any more (mission row M10)."""
        validity = min(claimed.remaining(), leased.message.deadline - leased.time.now())
        if validity < timedelta(seconds=self._settings.least_validity_s):
            return None
        message, to = leased.message, claimed.destination
        if claimed.channel is ChannelId.EMAIL:
            letter = self._templates.letter(message.kind, claimed.language, claimed.fields)
            return Outgoing(message.notification_id, to, letter.text, validity, letter.subject, letter.html)
        text = self._templates.render(message.kind, claimed.language, claimed.fields)
        return Outgoing(message.notification_id, to, text, validity)

    async def _report(self, leased: Leased, message: Message) -> None:
        assert message.report is not None
        try:
            await self._issuers.report(message, message.report)
        except ServiceError as error:
            if not is_void(error):
                metrics.REPORT_FAILURES.inc()
                given_up = (leased.time.now() - message.created_at).total_seconds() > self._settings.report_give_up_s
                pause = None if given_up else self._pause(message)
                await self._until_stored(leased, lambda: self._store.put_off_report(leased, pause))
                self._look_again_in(pause)
                return
        await self._until_stored(leased, lambda: self._store.reported(leased))

    async def _settle(self, leased: Leased, step: Step) -> Message:
        """Stores what followed; Overtaken if there was nothing to store it on."""
        message = await self._until_stored(leased, lambda: self._store.settle(leased, step))
        if message is None:
            raise Overtaken
        self._look_again_in(step.due_in)
        return message

    @asynccontextmanager
    async def _lease_kept(self, leased: Leased) -> AsyncIterator[None]:
        """A submit may wait long for a slow SMSC's window; while this worker lives nobody else takes the message over."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(self._settings.lease_s / 3)
                with suppress(*AWAY):
                    await self._store.renew(leased)

        renewing = asyncio.create_task(renew(), name="lease")
        try:
            yield
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)

    async def _until_stored(self, leased: Leased, store: Callable[[], Awaitable[T]]) -> T:
        """What came of a submit exists nowhere else: with the database away it is kept, and tried, while the lease lasts."""
        while True:
            try:
                return await store()
            except AWAY as error:
                logger().warning("outcome not stored; trying again", error=error_name(error))
                if self._age(leased) > self._settings.lease_s:
                    raise Overtaken from None
                await asyncio.sleep(0.2)

    def _is_too_late(self, leased: Leased) -> bool:
        return leased.message.deadline - leased.time.now() < timedelta(seconds=self._settings.least_validity_s)

    def _pause(self, message: Message) -> timedelta:
        return self._policy.pause(message.tries, _RANDOM.random())

    def _age(self, leased: Leased) -> float:
        return (leased.time.now() - leased.time.read).total_seconds()

    def _look_again_in(self, pause: timedelta | None) -> None:
        if pause is None:
            return
        # A little later than the database will find it due.
        heapq.heappush(self._due_times, asyncio.get_running_loop().time() + pause.total_seconds() + 0.005)
        # The poll may be asleep until some later time.
        self.wake()
