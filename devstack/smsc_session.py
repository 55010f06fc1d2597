"""One application's connection to the SMSC: bind, submits, deliveries. SMPP 3.4, the other side."""

import asyncio
import hmac
import logging
from collections.abc import Coroutine
from typing import Any

from devstack.smsc_centre import Centre, Delivery, InvalidSubmit, Message
from services.notifier.smpp.codec import MAX_SEQUENCE, FramingError, Pdu, PduError, decode, encode, read_frame
from services.notifier.smpp.outcomes import ESME_RINVCMDID, ESME_ROK, ESME_RX_P_APPN

log = logging.getLogger("devstack.smsc")

_RINVBNDSTS, _RALYBND, _RINVPASWD, _RINVSYSID = 0x04, 0x05, 0x0E, 0x0F
_BINDS = ("bind_transceiver", "bind_transmitter", "bind_receiver")
_DELIVERIES = 10  # deliver_sm without an answer
_ACKNOWLEDGE_WITHIN_S = 30.0


class Session:
    """Serve with `run`, which returns when the connection is over; what was not acknowledged goes back to the outbox."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, centre: Centre, system_id: str, password: str
    ) -> None:
        self._reader, self._writer = reader, writer
        self._centre = centre
        self._system_id, self._password = system_id, password
        self._bound_as: str | None = None
        self._sequence = 0
        self._answers: dict[int, asyncio.Future[int]] = {}
        self._room = asyncio.Semaphore(_DELIVERIES)
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def bound(self) -> bool:
        return self._bound_as is not None and not self._writer.is_closing()

    async def run(self) -> None:
        try:
            while await self._step():
                pass
        except (FramingError, asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self._bound_as = None
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            self._writer.close()

    def write(self, raw: bytes) -> None:
        if not self._writer.is_closing():
            self._writer.write(raw)

    def drop(self) -> None:
        """Cut the connection, as a crash would."""
        self._writer.transport.abort()

    def unbind(self) -> None:
        self.write(encode("unbind", self._next_sequence()))

    def _next_sequence(self) -> int:
        self._sequence = self._sequence % MAX_SEQUENCE + 1
        return self._sequence

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _step(self) -> bool:
        """Handle one PDU; whether to go on."""
        raw = await read_frame(self._reader)
        try:
            pdu = decode(raw)
        except PduError as error:
            if not error.is_response:
                self.write(encode("generic_nack", error.sequence, status=ESME_RINVCMDID))
            return True
        await self._writer.drain()
        if pdu.command in _BINDS:
            return self._bind(pdu)
        if pdu.command == "enquire_link":
            if not self._centre.behaviour.ignore_enquire_link:
                self.write(encode("enquire_link_resp", pdu.sequence))
        elif pdu.command == "unbind":
            self.write(encode("unbind_resp", pdu.sequence))
            return False
        elif pdu.command == "unbind_resp":
            return False
        elif pdu.command == "submit_sm":
            self._submit(pdu)
        elif pdu.command in ("deliver_sm_resp", "generic_nack"):
            answer = self._answers.pop(pdu.sequence, None)
            if answer is not None and not answer.done():
                answer.set_result(pdu.status)
        return True

    def _bind(self, pdu: Pdu) -> bool:
        status = ESME_ROK
        if self._bound_as is not None:
            status = _RALYBND
        elif pdu.string("system_id") != self._system_id:
            status = _RINVSYSID
        elif not hmac.compare_digest(pdu.octets("password"), self._password.encode()):
            status = _RINVPASWD
        self.write(encode(f"{pdu.command}_resp", pdu.sequence, {"system_id": "devstack"}, status=status))
        if status != ESME_ROK:
            log.info("bind refused: 0x%08x", status)
            return status == _RALYBND
        self._bound_as = pdu.command
        log.info("bound: %s", pdu.command)
        if pdu.command != "bind_transmitter":
            self._spawn(self._deliver())
        return True

    # -- submits

    def _submit(self, pdu: Pdu) -> None:
        centre, behaviour = self._centre, self._centre.behaviour
        if self._bound_as not in ("bind_transceiver", "bind_transmitter"):
            self._respond(pdu, status=_RINVBNDSTS)
        elif centre.spend("refuse_count"):
            self._respond(pdu, status=behaviour.refuse_status)
        elif centre.spend("lose_count"):
            pass
        else:
            try:
                message = centre.accept(pdu)
            except InvalidSubmit as error:
                self._respond(pdu, status=error.status)
                return
            if centre.spend("drop_response_count"):
                centre.begin(message)
            elif behaviour.receipt_before_response or behaviour.response_delay_s > 0:
                self._spawn(self._respond_later(pdu, message))
            else:
                self._respond(pdu, message_id=message.message_id)
                centre.begin(message)

    async def _respond_later(self, pdu: Pdu, message: Message) -> None:
        behaviour = self._centre.behaviour
        if behaviour.receipt_before_response:
            self._centre.begin(message)
            await message.reported.wait()
        try:
            await asyncio.sleep(behaviour.response_delay_s)
            self._respond(pdu, message_id=message.message_id)
        finally:
            # Also when the connection is lost meanwhile: the message was taken.
            if not behaviour.receipt_before_response:
                self._centre.begin(message)

    def _respond(self, pdu: Pdu, *, status: int = ESME_ROK, message_id: str = "") -> None:
        if message_id and self._centre.behaviour.answer_decimal_ids:
            message_id = str(int(message_id, 16))
        answer = encode("submit_sm_resp", pdu.sequence, {"message_id": message_id}, status=status)
        self.write(answer * 2 if self._centre.behaviour.twice else answer)

    # -- deliveries

    async def _deliver(self) -> None:
        while True:
            await self._room.acquire()
            delivery = await self._centre.outbox.get()
            self._spawn(self._push(delivery))

    async def _push(self, delivery: Delivery) -> None:
        sequence = self._next_sequence()
        answer = self._answers[sequence] = asyncio.get_running_loop().create_future()
        again_in: float | None = 0.0  # at once, to the next connection, if this one is lost
        try:
            self.write(encode("deliver_sm", sequence, delivery.fields))
            if self._centre.behaviour.twice:
                self.write(encode("deliver_sm", self._next_sequence(), delivery.fields))
            async with asyncio.timeout(_ACKNOWLEDGE_WITHIN_S):
                status = await answer
            again_in = None if status in (ESME_ROK, ESME_RX_P_APPN) else self._centre.behaviour.retry_s
        except TimeoutError:
            pass
        finally:
            self._answers.pop(sequence, None)
            self._room.release()
            if again_in is None:
                self._centre.settled(delivery)
            else:
                asyncio.get_running_loop().call_later(again_in, self._centre.outbox.put_nowait, delivery)
