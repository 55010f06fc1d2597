"""The message centre: handsets with their messages, what is held for them, what waits for the application.

Knows no socket. Messages reach a handset once they are whole and the handset is on; past its validity a message never
does, and the receipt says EXPIRED.
"""

import asyncio
import itertools
import json
import time
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from devstack.handsets import HandsetMessage, digits_of
from devstack.smsc_behaviour import FOREVER, Behaviour, receipt_fields
from services.notifier.smpp import text as sms
from services.notifier.smpp.codec import Fields, Pdu
from services.notifier.smpp.receipts import MessageState
from services.notifier.smpp.validity import parse_relative_validity

_TON_INTERNATIONAL, _NPI_ISDN = 1, 1
_SHORT_CODE_DIGITS = 6


class InvalidSubmit(Exception):
    """A submit_sm that is refused with `status` (SMPP 3.4 section 5.1.3)."""

    def __init__(self, status: int) -> None:
        super().__init__(f"status 0x{status:08x}")
        self.status = status


@dataclass(eq=False, slots=True)
class Message:
    """One submit_sm on its way."""

    message_id: str
    submit: Pdu = field(repr=False)
    number: str = field(repr=False)
    body: bytes = field(repr=False)
    part: sms.Concatenation | None
    validity: timedelta | None
    submitted_at: datetime
    over: bool = False
    expiry: asyncio.TimerHandle | None = None
    reported: asyncio.Event = field(default_factory=asyncio.Event)  # its receipt was acknowledged


@dataclass(eq=False, slots=True)
class Delivery:
    """A deliver_sm that is kept until the application acknowledges or refuses it for good."""

    fields: Fields = field(repr=False)
    done: asyncio.Event


class Mailbox:
    """One handset's messages, also a line each in a JSONL file, so that they survive the SMSC."""

    def __init__(self, number: str, path: Path) -> None:
        self.number = number
        self.is_on = True
        self.held: list[Message] = []
        self._path = path
        self._arrived = asyncio.Condition()
        self._parts: dict[tuple[str, int, int], dict[int, Message]] = defaultdict(dict)
        lines = path.read_text().splitlines() if path.exists() else []
        self.messages = [HandsetMessage.from_json(json.loads(line)) for line in lines]

    async def take(self, message: Message) -> None:
        """Keep a part; once all parts are there, the message appears."""
        whole = {1: message}
        if message.part is not None:
            key = (message.submit.string("source_addr"), message.part.reference, message.part.total)
            self._parts[key][message.part.number] = message
            if len(self._parts[key]) < message.part.total:
                return
            whole = self._parts.pop(key)
        parts = [whole[number] for number in sorted(whole)]
        first = parts[0].submit
        seen = HandsetMessage(
            index=len(self.messages) + 1,
            number=self.number,
            source=_shown(first.string("source_addr"), first.number("source_addr_ton")),
            text=_text({number: part.body for number, part in whole.items()}, first.number("data_coding")),
            received_at=datetime.now(UTC),
            validity_period=first.string("validity_period"),
            message_ids=tuple(part.message_id for part in parts),
            parts=len(parts),
        )
        with self._path.open("a") as file:
            file.write(json.dumps(seen.to_json(), ensure_ascii=False) + "\n")
        async with self._arrived:
            self.messages.append(seen)
            self._arrived.notify_all()

    async def wait(self, after: int) -> HandsetMessage:
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.messages) > after)
            return self.messages[after]


class Centre:
    def __init__(self, state_dir: Path) -> None:
        self.behaviour = Behaviour()
        self.outbox: asyncio.Queue[Delivery] = asyncio.Queue()
        self.submits = 0
        self.undelivered = 0
        self._state_dir = state_dir
        self._mailboxes: dict[str, Mailbox] = {}
        # Ids don't repeat after a restart, and look like those of the real thing: hexadecimal.
        self._ids = itertools.count(time.time_ns() // 1000)
        self._ids_of_texts: dict[tuple[str, str, int], str] = {}
        self._references = itertools.count(1)
        self._work: set[asyncio.Task[None]] = set()
        state_dir.mkdir(parents=True, exist_ok=True)

    def mailbox(self, number: str) -> Mailbox:
        key = digits_of(number)
        if not key:
            raise ValueError("a handset's number has digits")
        if key not in self._mailboxes:
            self._mailboxes[key] = Mailbox(key, self._state_dir / f"{key}.jsonl")
        return self._mailboxes[key]

    @property
    def held(self) -> int:
        return sum(len(box.held) for box in self._mailboxes.values())

    def spend(self, count: str) -> bool:
        """Whether the behaviour's counter applies to this submit; uses one of it up."""
        left: int = getattr(self.behaviour, count)
        if left > 0:
            self.behaviour = self.behaviour.changed({count: left - 1})
        return left > 0 or left == FOREVER

    # -- from the application to handsets

    def accept(self, submit: Pdu) -> Message:
        """Take a submit_sm; `begin` sets it going. Raises InvalidSubmit."""
        number = submit.string("destination_addr")
        if not (number.isascii() and number.isdigit()):
            raise InvalidSubmit(0x0B)
        try:
            body, part = sms.strip_header(
                submit.octets("short_message") or submit.octets("message_payload"), submit.number("esm_class")
            )
        except sms.TextError:
            raise InvalidSubmit(0x43) from None
        now = datetime.now(UTC)
        validity = _validity(submit.string("validity_period"), now)
        self.submits += 1
        return Message(self._id_of(submit, part), submit, number, body, part, validity, now)

    def _id_of(self, submit: Pdu, part: sms.Concatenation | None) -> str:
        new = f"{next(self._ids):X}"
        if part is None or not self.behaviour.one_id_a_text:
            return new
        text = (submit.string("source_addr"), submit.string("destination_addr"), part.reference)
        return self._ids_of_texts.setdefault(text, new)

    def begin(self, message: Message) -> None:
        loop = asyncio.get_running_loop()
        if message.validity is not None:
            gone = (datetime.now(UTC) - message.submitted_at).total_seconds()
            message.expiry = loop.call_later(message.validity.total_seconds() - gone, self._expire, message)
        if self.behaviour.delivery_delay_s > 0:
            loop.call_later(self.behaviour.delivery_delay_s, lambda: self._spawn_arrival(message))
        else:
            self._spawn_arrival(message)

    def _spawn_arrival(self, message: Message) -> None:
        task = asyncio.create_task(self._arrive(message))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _arrive(self, message: Message) -> None:
        if message.over:
            return
        box = self.mailbox(message.number)
        if not box.is_on:
            box.held.append(message)
            return
        message.over = True
        if message.expiry is not None:
            message.expiry.cancel()
        state = MessageState[self.behaviour.final_state]
        if state is MessageState.DELIVERED:
            await box.take(message)
        self._report(message, state)

    def _expire(self, message: Message) -> None:
        if message.over:
            return
        message.over = True
        held = self.mailbox(message.number).held
        if message in held:
            held.remove(message)
        self._report(message, MessageState.EXPIRED)

    def switch(self, number: str, *, on: bool) -> None:
        box = self.mailbox(number)
        box.is_on = on
        if on:
            held, box.held = box.held, []
            for message in held:
                self._spawn_arrival(message)

    def _report(self, message: Message, state: MessageState) -> None:
        """Section 5.2.17: 1 asks for a receipt in any case, 2 for failures alone."""
        asked = message.submit.number("registered_delivery") & 0x03
        if asked == 0 or (asked == 2 and state is MessageState.DELIVERED):
            message.reported.set()
            return
        receipt = receipt_fields(
            self.behaviour.receipt_form,
            message_id=message.message_id,
            state=state,
            submitted_at=message.submitted_at,
            done_at=datetime.now(UTC),
        )
        submit = message.submit
        addresses: Fields = {
            "source_addr_ton": submit.number("dest_addr_ton"),
            "source_addr_npi": submit.number("dest_addr_npi"),
            "source_addr": submit.string("destination_addr"),
            "dest_addr_ton": submit.number("source_addr_ton"),
            "dest_addr_npi": submit.number("source_addr_npi"),
            "destination_addr": submit.string("source_addr"),
        }
        self.put(Delivery({**addresses, **receipt}, message.reported))

    # -- from handsets to the application

    def send(self, number: str, to: str, text: str, reference: int | None = None) -> list[Delivery]:
        """A text from a handset, in as many parts as it takes. Raises services' TextError."""
        split = sms.split(text, next(self._references) if reference is None else reference)
        deliveries = [
            Delivery(
                {
                    "source_addr_ton": _TON_INTERNATIONAL,
                    "source_addr_npi": _NPI_ISDN,
                    "source_addr": digits_of(number),
                    "dest_addr_npi": _NPI_ISDN,
                    "destination_addr": to.removeprefix("+"),
                    "esm_class": split.esm_class,
                    "data_coding": split.data_coding,
                    "short_message": body,
                },
                asyncio.Event(),
            )
            for body in split.bodies
        ]
        for delivery in deliveries:
            self.put(delivery)
        return deliveries

    def put(self, delivery: Delivery) -> None:
        self.undelivered += 1
        self.outbox.put_nowait(delivery)

    def settled(self, delivery: Delivery) -> None:
        self.undelivered -= 1
        delivery.done.set()


def _shown(address: str, ton: int) -> str:
    return f"+{address}" if ton == _TON_INTERNATIONAL and len(address) > _SHORT_CODE_DIGITS else address


def _text(bodies: dict[int, bytes], data_coding: int) -> str:
    try:
        return sms.join(bodies, data_coding)
    except sms.TextError:
        return f"[{data_coding:#04x}] " + b"".join(bodies.values()).hex()  # as a handset shows squares


def _validity(period: str, now: datetime) -> timedelta | None:
    """Relative or absolute (section 7.1.1), None where the application leaves it to us. Raises InvalidSubmit."""
    if not period:
        return None
    if (relative := parse_relative_validity(period)) is not None:
        return relative
    try:
        local = datetime.strptime(period[:12], "%y%m%d%H%M%S").replace(tzinfo=UTC)
        quarters = int(period[13:15]) * (1 if period[15] == "+" else -1)
    except (ValueError, IndexError):
        raise InvalidSubmit(0x62) from None
    return local - timedelta(minutes=15 * quarters) - now
