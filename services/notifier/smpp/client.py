"""The client that a worker holds: binds, keeps bound, submits messages and hands deliveries over."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from services.notifier.smpp.bind import BindFailed, BindRefused, open_link
from services.notifier.smpp.codec import Fields, Pdu, encode
from services.notifier.smpp.inbound import InboundSms, NotForUs, Refused, read_delivery
from services.notifier.smpp.link import Link, LinkCounters
from services.notifier.smpp.outbound import NotSendable, parts_of
from services.notifier.smpp.outcomes import (
    ESME_ROK,
    ESME_RX_P_APPN,
    SLOW_DOWN,
    NotSent,
    Outcome,
    Sent,
    Unknown,
    outcome_of_parts,
)
from services.notifier.smpp.pacing import TokenBucket
from services.notifier.smpp.receipts import Receipt, ReceiptError
from services.notifier.smpp.settings import SmppSettings
from services.notifier.smpp.text import TextError
from services.notifier.smpp.validity import relative_validity

log = logging.getLogger(__name__)

_LATER_PART_TRIES = 5
_RANDOM = random.SystemRandom()


class SmppClient:
    """Owns the connection and its reconnecting; an async context manager, or `start` and `close`.

    A handler's return acknowledges the delivery, so it commits first; its exception (or its taking longer than
    `handler_timeout_s`) makes the SMSC try again, unless it is Refused. Handlers run concurrently, see every delivery at
    least once, and may see a receipt before `submit` has returned the id that it names.
    """

    def __init__(
        self,
        settings: SmppSettings,
        on_receipt: Callable[[Receipt], Awaitable[None]],
        on_text: Callable[[InboundSms], Awaitable[None]],
    ) -> None:
        self.counters = LinkCounters()
        self._settings = settings
        self._on_receipt = on_receipt
        self._on_text = on_text
        self._bucket = TokenBucket(settings.rate)
        self._handlers: set[asyncio.Task[None]] = set()
        self._link: Link | None = None
        self._runner: asyncio.Task[None] | None = None
        self._closing = False
        self._refusal: BindRefused | None = None
        self._changed = asyncio.Condition()
        self._begun = 0  # messages with at least one part on the wire: `close` lets them finish
        self._quiet = asyncio.Event()
        self._quiet.set()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        await self.close()

    def start(self) -> None:
        """Begin to bind, in the background and for as long as it takes: `wait_bound` tells when."""
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="smpp-client")

    @property
    def bound(self) -> bool:
        return self._link is not None and self._link.usable

    @property
    def held_up(self) -> bool:
        """Whether a message would have to wait here for a throttled or silent SMSC: another one should be asked first."""
        return self._bucket.is_behind(_now()) or (self._link is not None and self._link.is_silent)

    async def wait_bound(self, timeout: float) -> None:
        """Wait up to `timeout` seconds for a session.

        Raises BindRefused at once when the SMSC refuses the account itself, at the end for any other refusal (such as
        "already bound", which passes), and TimeoutError when there was no answer. The client keeps trying all the same.
        """
        try:
            async with asyncio.timeout(timeout), self._changed:
                await self._changed.wait_for(lambda: self.bound or (self._refusal and self._refusal.is_permanent))
        except TimeoutError:
            raise self._refusal or TimeoutError("not bound in time") from None
        if not self.bound and self._refusal is not None:
            raise self._refusal

    async def submit(
        self,
        *,
        destination: str,
        text: str,
        source: str,
        validity: timedelta | None,
        reference: int,
        want_receipt: bool = True,
    ) -> Outcome:
        """Send a message; all parts of a long one, in order. Never raises for what the SMSC or the network does.

        `destination` is E.164; `source` a number, a short code or a name of up to 11 characters. `validity` is how
        long the text is still worth delivering from now on: time spent waiting for the window counts, and a message that
        used it up is a terminal NotSent. `reference` marks the parts of a long text by its low 8 bits: two texts that are on
        their way from one source to one destination must not have the same, or the handset joins parts of one with the other's.
        """
        try:
            parts = parts_of(destination=destination, text=text, source=source, want_receipt=want_receipt, reference=reference)
        except NotSendable as error:
            return self._count(NotSent(error.reason, retryable=False))
        link = self._link
        if link is None or not link.usable or self._closing:
            return self._count(NotSent("not bound to the SMSC", retryable=True))
        expires_at = None if validity is None else _now() + validity.total_seconds()
        begun = False

        def build_first(sequence: int) -> bytes:
            nonlocal begun
            if self._closing:
                raise NotSendable("not bound to the SMSC", retryable=True)
            raw = _build(parts[0], expires_at, sequence)
            begun = True
            self._begin()
            return raw

        try:
            outcome = await link.submit(build_first)
            accepted: tuple[str, ...] = ()
            for part in parts[1:]:
                if not isinstance(outcome, Sent):
                    break
                accepted += outcome.message_ids
                outcome = await self._submit_later(link, part, expires_at)
        finally:
            if begun:
                self._finish()
        return self._count(outcome_of_parts(accepted, outcome))

    async def _submit_later(self, link: Link, part: Fields, expires_at: float | None) -> Outcome:
        """A later part is tried more than once when throttled: half a message is worse than a slow one."""
        pause = self._settings.reconnect_min_s
        for _ in range(_LATER_PART_TRIES):
            outcome = await link.submit(lambda sequence: _build(part, expires_at, sequence))
            if not (isinstance(outcome, NotSent) and outcome.status in SLOW_DOWN):
                break
            await asyncio.sleep(pause * _RANDOM.uniform(0.5, 1.5))
            pause *= 2
        return outcome

    def _begin(self) -> None:
        self._begun += 1
        self._quiet.clear()

    def _finish(self) -> None:
        self._begun -= 1
        if self._begun == 0:
            self._quiet.set()

    def _count(self, outcome: Outcome) -> Outcome:
        match outcome:
            case Sent():
                self.counters.sent += 1
            case NotSent():
                self.counters.not_sent += 1
            case Unknown():
                self.counters.unknown += 1
        return outcome

    async def close(self) -> None:
        """Drain: take nothing new, wait for what is on the wire and for running handlers, unbind. Idempotent."""
        self._closing = True
        link = self._link
        if link is not None and link.usable:
            await self._quiet.wait()
            await link.drain()
            if self._handlers:
                await asyncio.wait(self._handlers)
            await link.unbind()
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        if self._handlers:
            await asyncio.wait(self._handlers)

    # -- keeping bound

    async def _run(self) -> None:
        pause = self._settings.reconnect_min_s
        while not self._closing:
            try:
                link = await open_link(self._settings, self._bucket, self.counters, self._delivered, self._handlers)
            except BindFailed as error:
                self._refusal = error if isinstance(error, BindRefused) else None
                await self._announce(None)
                log.warning("smpp bind failed: %s", error)
            else:
                self._refusal = None
                pause = self._settings.reconnect_min_s
                # Reading starts before the news is out: nobody submits into a link that nobody reads.
                running = asyncio.create_task(link.run())
                try:
                    await self._announce(link)
                    log.info("smpp bound")
                    reason = await running
                finally:
                    self._link = None
                    link.hang_up()  # a task that is cancelled before its first step runs no `finally` of its own
                    running.cancel()
                    await asyncio.gather(running, return_exceptions=True)
                await self._announce(None)
                log.warning("smpp link ended: %s", reason)
            # Full jitter: after the SMSC's restart its clients must not come back as one.
            await asyncio.sleep(_RANDOM.uniform(self._settings.reconnect_min_s / 2, pause))
            pause = min(pause * 2, self._settings.reconnect_max_s)

    async def _announce(self, link: Link | None) -> None:
        self._link = link
        async with self._changed:
            self._changed.notify_all()

    async def _delivered(self, pdu: Pdu) -> int:
        """The status to acknowledge a deliver_sm with."""
        try:
            delivery = read_delivery(pdu)
        except (ReceiptError, TextError) as error:
            log.warning("smpp delivery not readable: %s", error)
            return ESME_RX_P_APPN
        except NotForUs:
            return ESME_ROK
        try:
            if isinstance(delivery, Receipt):
                await self._on_receipt(delivery)
            else:
                await self._on_text(delivery)
        except Refused:
            return ESME_RX_P_APPN
        return ESME_ROK


def _now() -> float:
    return asyncio.get_running_loop().time()


def _build(part: Fields, expires_at: float | None, sequence: int) -> bytes:
    period = None
    if expires_at is not None:
        period = relative_validity(timedelta(seconds=expires_at - _now()))
        if period is None:
            raise NotSendable("the message's validity ended before it could be sent")
    return encode("submit_sm", sequence, {**part, "validity_period": period})
