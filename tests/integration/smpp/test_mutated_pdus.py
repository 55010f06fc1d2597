"""PDUs mutated by the thousand on a live session: the client stays, or comes back, and says no more than is true."""

import asyncio
import random
from collections import Counter
from contextlib import suppress

import pytest

from services.chassis.sms_coding import TextError
from services.notifier.smpp import InboundSms, Sent
from services.notifier.smpp.codec import PduError, decode, encode, read_frame
from services.notifier.smpp.inbound import NotForUs, read_delivery
from services.notifier.smpp.receipts import ReceiptError
from tests.integration.smpp.conftest import NUMBER, Connect, Inbox
from tests.integration.smpp.test_smpp_session import peer

STORM, BATCH, SEED = 5000, 5, 20261123
# Sequences of what the storm asks between batches.
_ASKING = 1_000_000
GOOD_TEXT = b"still here"
_TEXT = {"source_addr": NUMBER, "destination_addr": "3339"}
SAMPLES = [
    encode("deliver_sm", 1, _TEXT | {"short_message": b"PAROL"}),
    encode("deliver_sm", 1, _TEXT | {"data_coding": 8, "short_message": "ПАРОЛЬ".encode("utf-16-be")}),
    encode("deliver_sm", 1, _TEXT | {"esm_class": 0x40, "short_message": b"\x05\x00\x03\x07\x02\x01part one"}),
    encode("deliver_sm", 1, _TEXT | {"short_message": b"part", "sar_msg_ref_num": 5, "sar_total_segments": 2}),
    encode("deliver_sm", 1, _TEXT | {"esm_class": 4, "receipted_message_id": "A1", "message_state": 2}),
    encode("deliver_sm", 1, _TEXT | {"esm_class": 4, "short_message": b"id:7 submit date:2611230135 stat:DELIVRD err:000"}),
    encode("submit_sm_resp", 1, {"message_id": "ABC"}),
    encode("enquire_link", 1),
    encode("enquire_link_resp", 1),
    encode("generic_nack", 1, status=3),
]


def mutated(chance: random.Random, sequence: int) -> bytes:
    """Some bytes set, put in, cut off or left out. Most tell their true length: else few would get past it."""
    raw = bytearray(chance.choice(SAMPLES))
    raw[12:16] = sequence.to_bytes(4, "big")
    for _ in range(chance.randint(1, 3)):
        at = chance.randrange(16, max(17, len(raw))) if chance.random() < 0.8 else chance.randrange(max(1, len(raw)))
        match chance.randrange(4):
            case 0:
                raw[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                raw[at:at] = chance.randbytes(chance.randrange(6))
            case 2:
                del raw[at : at + 1]
            case 3 if chance.random() < 0.2:
                del raw[at:]
    if chance.random() < 0.95:
        raw[0:4] = max(len(raw), 4).to_bytes(4, "big")
    return bytes(raw)


def is_for_a_handler(raw: bytes) -> bool:
    try:
        read_delivery(decode(raw))
    except (NotForUs, PduError, TextError, ReceiptError):
        return False  # also what another mutant of the same sequence was
    return True


class Storm:
    """An SMSC that has gone mad: over as many sessions as it takes, and at the end one text that is in order."""

    def __init__(self) -> None:
        self._chance = random.Random(SEED)  # the same storm each time
        self.sent = 0
        self.sessions = 0
        self.by_sequence: dict[int, bytes] = {}
        self.acknowledged: list[int] = []
        self.statuses: Counter[int] = Counter()
        self.good_acknowledged = asyncio.Event()
        self._asked = 0
        self._answered = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        bind = decode(await read_frame(reader))
        writer.write(encode("bind_transceiver_resp", bind.sequence, {"system_id": "storm"}))
        hearing = asyncio.create_task(self._hear(reader, writer))
        try:
            while self.sent < STORM and not hearing.done():
                if self.sent % BATCH == 0:
                    await self._until_read(writer, hearing)
                self.sent += 1
                pdu = mutated(self._chance, self.sent)
                self.by_sequence[int.from_bytes(pdu[12:16], "big")] = pdu
                writer.write(pdu)
            await self._until_read(writer, hearing)
            if not hearing.done():
                writer.write(encode("deliver_sm", STORM + 1, _TEXT | {"short_message": GOOD_TEXT}))
            await hearing
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)

    async def _until_read(self, writer: asyncio.StreamWriter, hearing: "asyncio.Task[None]") -> None:
        """Until the client has read all so far, or has given up this link."""
        self._asked = _ASKING + self.sent
        self._answered.clear()
        writer.write(encode("enquire_link", self._asked))
        answered = asyncio.create_task(self._answered.wait())
        await asyncio.wait({answered, hearing}, return_when=asyncio.FIRST_COMPLETED)
        answered.cancel()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Until the link is over."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                pdu = decode(await read_frame(reader))
                if pdu.command == "deliver_sm_resp":
                    self.statuses[pdu.status] += 1
                    if pdu.status == 0:
                        self.acknowledged.append(pdu.sequence)
                    if pdu.sequence == STORM + 1 and pdu.status == 0:
                        self.good_acknowledged.set()
                if pdu.command == "enquire_link_resp" and pdu.sequence == self._asked:
                    self._answered.set()
                if pdu.command == "submit_sm":
                    writer.write(encode("submit_sm_resp", pdu.sequence, {"message_id": "calm"}))
                if pdu.command == "enquire_link":
                    writer.write(encode("enquire_link_resp", pdu.sequence))


@pytest.mark.row("B3")
async def test_mutated_pdus_by_the_thousand_end_no_client_and_are_acknowledged_only_when_handled(
    connect: Connect, inbox: Inbox, caplog: pytest.LogCaptureFixture
) -> None:
    unhandled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: unhandled.append(context))
    storm = Storm()
    async with peer(storm) as port:
        client = await connect(port, enquire_idle_s=0.05, response_timeout_s=0.1, reconnect_max_s=0.02)
        async with asyncio.timeout(60):
            await storm.good_acknowledged.wait()
        assert client.bound
        outcome = await client.submit(destination=NUMBER, text="calm?", source="Zasov", validity=None, reference=0)
        assert isinstance(outcome, Sent)
        assert outcome.message_id == "calm"
        await client.close()
    # What was acknowledged was handled, but for what is nobody's to handle.
    to_be_handled = sum(is_for_a_handler(storm.by_sequence.get(sequence, b"")) for sequence in storm.acknowledged)
    assert inbox.texts.qsize() + inbox.receipts.qsize() >= to_be_handled > 100
    texts: list[InboundSms] = [inbox.texts.get_nowait() for _ in range(inbox.texts.qsize())]
    assert GOOD_TEXT in [text.body for text in texts]
    assert storm.sent == STORM
    # The storm did reach what it was made for: some were taken, some refused for good, some broke the framing.
    assert storm.statuses[0] > 100
    assert storm.statuses[0x65] > 100
    assert storm.sessions > 10
    assert set(storm.statuses) <= {0, 0x64, 0x65}
    assert unhandled == []
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


def test_the_storm_is_of_mutants() -> None:
    """Most can be read in part, and many can't at all: neither an obedient peer nor noise."""
    chance = random.Random(SEED)
    readable = 0
    for sequence in range(1000):
        with suppress(PduError):
            decode(mutated(chance, sequence))
            readable += 1
    assert 200 < readable < 900
