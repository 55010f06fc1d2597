"""One bound connection: the window, the responses, the deliveries, the watch over silence. Lives until it is lost."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from services.notifier.smpp.codec import MAX_SEQUENCE, FramingError, Pdu, PduError, decode, encode, read_frame
from services.notifier.smpp.outbound import NotSendable
from services.notifier.smpp.outcomes import (
    ESME_RINVCMDID,
    ESME_ROK,
    ESME_RX_P_APPN,
    ESME_RX_T_APPN,
    SLOW_DOWN,
    NotSent,
    Outcome,
    Unknown,
    outcome_of_response,
)
from services.notifier.smpp.pacing import TokenBucket
from services.notifier.smpp.settings import SmppSettings
from services.notifier.smpp.window import Window

log = logging.getLogger(__name__)

_DELIVER_SM = 0x00000005


@dataclass(slots=True)
class LinkCounters:
    """Since the start of the client, over all its links. For whoever exports metrics."""

    links: int = 0
    sent: int = 0
    not_sent: int = 0
    unknown: int = 0
    slowed_down: int = 0
    late_responses: int = 0
    delivered: int = 0
    deliveries_put_off: int = 0
    undecodable: int = 0


class Link:
    """Made by `open_link` (services/notifier/smpp/bind.py); `run` must be awaited for anything to be read."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        settings: SmppSettings,
        bucket: TokenBucket,
        counters: LinkCounters,
        on_delivery: Callable[[Pdu], Awaitable[int]],
        handlers: set[asyncio.Task[None]],
    ) -> None:
        self._reader, self._writer = reader, writer
        self._settings = settings
        self._bucket = bucket
        self._counters = counters
        self._on_delivery = on_delivery
        self._handlers = handlers
        self._loop = asyncio.get_running_loop()
        self._sequence = 1  # was the bind
        self._window = Window(settings.window, settings.response_timeout_s, self._unanswered)
        self._inbound = asyncio.Semaphore(settings.inbound_window)
        self._ended: asyncio.Future[str] = self._loop.create_future()
        self._unbound: asyncio.Future[None] = self._loop.create_future()
        self._leaving = False
        self._paused = False  # not reading: silence is then our own doing
        self._heard_at = self._loop.time()
        self._silence_s = min(settings.silence_s, settings.response_timeout_s)
        self._owing_since: float | None = None  # when the SMSC last answered a submit, or was sent one, and owes more

    @property
    def usable(self) -> bool:
        return not self._leaving and not self._ended.done() and not self._writer.is_closing()

    @property
    def is_silent(self) -> bool:
        """Whether it owes answers to submits and has given none for a while: likely hung, and not yet known to be."""
        since = self._owing_since
        return since is not None and not self._paused and self._loop.time() - since >= self._silence_s

    async def run(self) -> str:
        """Read until the link is lost; why it was. Every submit in the window is then Unknown."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]
        try:
            return await asyncio.shield(self._ended)
        finally:
            self.hang_up()  # before anything is awaited: a second cancellation may cut that short
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def submit(self, build: Callable[[int], bytes]) -> Outcome:
        """Send one submit_sm within window and rate, and await its outcome.

        `build` makes the PDU from its sequence number at the last moment, and may raise NotSendable or PduError.
        """
        waited = self._window.is_full
        await self._window.take_place()
        if waited and self.is_silent:
            # A hung SMSC leaves one window in doubt, and not a second one of those that waited for the first.
            self._window.give_place_back()
            return NotSent("the SMSC is silent", retryable=True)
        try:
            outcome = await self._put_on_the_wire(build)
        except BaseException:
            self._window.give_place_back()
            raise
        if isinstance(outcome, NotSent):
            self._window.give_place_back()
            return outcome
        # From here the place is that of the submit on the wire: it stays taken until the SMSC answers or its time is over,
        # even if the caller gives up, or else the window would not bound what may be unknown.
        return await outcome

    async def _put_on_the_wire(self, build: Callable[[int], bytes]) -> NotSent | asyncio.Future[Outcome]:
        if self.usable and (delay := self._bucket.reserve(self._loop.time())) > 0:
            await asyncio.wait({self._ended}, timeout=delay)
        lost = NotSent("the link was lost before the message was sent", retryable=True)
        try:
            await self._writer.drain()
        except OSError:
            return lost
        if not self.usable:
            return lost
        sequence = self._next_sequence()
        try:
            raw = build(sequence)
        except NotSendable as error:
            return NotSent(error.reason, retryable=error.retryable)
        except PduError as error:
            return NotSent(error.reason, retryable=False)
        if self._owing_since is None:
            self._owing_since = self._loop.time()
        answer = self._window.sent(sequence)
        self._writer.write(raw)
        return answer

    def _unanswered(self, sequence: int, sent_at: float) -> None:
        if self._paused:
            # The answer may well lie in the socket, which we chose not to read.
            self._window.extend(sequence)
            return
        if self._heard_at <= sent_at:
            self._write("enquire_link", self._next_sequence())  # has it lost one, or is it gone?
        self._window.settle(sequence, Unknown("the SMSC did not answer in time"))

    def _end(self, reason: str) -> None:
        if not self._ended.done():
            self._ended.set_result(reason)

    def hang_up(self) -> None:
        """Close the connection and settle what is outstanding as Unknown. Idempotent."""
        self._end("closed")
        # An agreed end flushes its last PDU; a lost link has nothing worth waiting for.
        if self._leaving:
            self._writer.close()
        else:
            self._writer.transport.abort()
        self._window.settle_all(Unknown("the link was lost before the SMSC answered"))

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % MAX_SEQUENCE + 1
        return self._sequence

    def _write(self, command: str, sequence: int, status: int = 0) -> None:
        if not self._writer.is_closing():
            self._writer.write(encode(command, sequence, status=status))

    # -- reading

    async def _read(self) -> None:
        try:
            while True:
                raw = await read_frame(self._reader)
                self._heard_at = self._loop.time()
                if not len(self._window):
                    self._owing_since = None
                try:
                    pdu = decode(raw)
                except PduError as error:
                    self._on_undecodable(error)
                else:
                    await self._on_pdu(pdu)
        except FramingError:
            self._end("the stream is not SMPP")
        except (asyncio.IncompleteReadError, OSError):
            self._end("the SMSC closed the connection")
        finally:
            self._end("reading stopped")  # a bug of ours must not leave a link that nobody reads

    async def _on_pdu(self, pdu: Pdu) -> None:
        match pdu.command:
            case "submit_sm_resp" | "generic_nack":
                self._on_answer(pdu.command, pdu.sequence, pdu.status, pdu.string("message_id"))
            case "deliver_sm":
                await self._take(pdu)
            case "enquire_link":
                self._write("enquire_link_resp", pdu.sequence)
            case "unbind":
                self._spawn(self._leave(pdu.sequence))
            case "unbind_resp":
                if not self._unbound.done():
                    self._unbound.set_result(None)
            case "enquire_link_resp":
                pass  # being heard is all that it is for
            case _:
                self._write("generic_nack", pdu.sequence, ESME_RINVCMDID)

    def _on_answer(self, command: str, sequence: int, status: int, message_id: str) -> None:
        if status in SLOW_DOWN:
            self._counters.slowed_down += 1
            self._bucket.slow_down(self._loop.time())
        elif status == ESME_ROK:
            self._bucket.recover()
        if not self._window.settle(sequence, outcome_of_response(command, status, message_id)):
            self._counters.late_responses += 1
        self._owing_since = self._loop.time() if len(self._window) else None

    def _on_undecodable(self, error: PduError) -> None:
        self._counters.undecodable += 1
        log.warning("smpp pdu not decodable: command 0x%08x: %s", error.command_id, error.reason)
        if error.command_id == _DELIVER_SM:
            self._write("deliver_sm_resp", error.sequence, ESME_RX_P_APPN)
        elif error.is_response:
            if error.sequence in self._window:
                self._on_answer("undecodable", error.sequence, error.status, "")
        else:
            self._write("generic_nack", error.sequence, ESME_RINVCMDID)

    async def _take(self, pdu: Pdu) -> None:
        """Hand a delivery over. While the inbound window is full nothing is read: TCP then holds the SMSC back."""
        if self._inbound.locked():
            self._paused = True
        try:
            await self._inbound.acquire()
        finally:
            self._paused = False
            self._heard_at = self._loop.time()
        self._spawn(self._deliver(pdu))

    def _spawn(self, work: Awaitable[None]) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _deliver(self, pdu: Pdu) -> None:
        """Acknowledge only after the handler has returned, which is to say committed."""
        try:
            async with asyncio.timeout(self._settings.handler_timeout_s):
                status = await self._on_delivery(pdu)
        except Exception as error:  # whatever it was, the SMSC still has the message
            status = ESME_RX_T_APPN
            # The type alone: an exception's text may quote what it choked on.
            log.error("smpp delivery handler failed: %s", type(error).__name__)
        finally:
            self._inbound.release()
        if status == ESME_ROK:
            self._counters.delivered += 1
        elif status == ESME_RX_T_APPN:
            self._counters.deliveries_put_off += 1
        self._write("deliver_sm_resp", pdu.sequence, status)

    # -- silence and leaving

    async def _watch(self) -> None:
        """Ask when nothing was heard for a while, and give up when nothing is heard then either."""
        while True:
            quiet_for = self._loop.time() - self._heard_at
            if quiet_for < self._settings.enquire_idle_s:
                await asyncio.sleep(self._settings.enquire_idle_s - quiet_for)
                continue
            asked_at = self._loop.time()
            self._write("enquire_link", self._next_sequence())
            await asyncio.sleep(self._settings.response_timeout_s)
            if self._heard_at < asked_at and not self._paused:
                self._end("the SMSC fell silent")
                return

    async def _leave(self, sequence: int) -> None:
        """The SMSC unbinds: let it answer what it has, then agree."""
        self._leaving = True
        try:
            async with asyncio.timeout(self._settings.response_timeout_s):
                await self._window.until_idle()
        except TimeoutError:
            pass
        self._write("unbind_resp", sequence)
        self._end("the SMSC unbound")

    async def drain(self) -> None:
        """Wait until nothing is outstanding: at most the response time-out (longer only while not reading)."""
        await self._window.until_idle()

    async def unbind(self) -> None:
        """Say goodbye and end; waits for the answer as for any other."""
        self._leaving = True
        self._write("unbind", self._next_sequence())
        ends: set[asyncio.Future[None] | asyncio.Future[str]] = {self._unbound, self._ended}
        await asyncio.wait(ends, timeout=self._settings.response_timeout_s, return_when=asyncio.FIRST_COMPLETED)
        self._end("unbound")
