"""The session against an SMSC that we did not write (row B3): jSMPP's simulator."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from services.notifier.channels.smsc import one_spelling
from services.notifier.smpp import BindRefused, MessageState, NotSent, Sent, SmppClient
from tests.integration.simulator import GREETING, PASSWORD, SYSTEM_ID, Simulator, simulating
from tests.integration.smpp.conftest import NUMBER, Connect, Inbox
from tests.integration.smpp.test_smpp_session import until

pytestmark = pytest.mark.row("B3")

SUBMIT_SM, DELIVER_SM_RESP, UNBIND, ENQUIRE_LINK = 0x00000004, 0x80000005, 0x00000006, 0x00000015
RUSSIAN = "Zasov: код 4711 (запрос № 47). Никому не сообщайте."
# Two and three parts.
LONG_RUSSIAN, LONG_ENGLISH = RUSSIAN * 2, "Zasov: code 4711 (request 47). Tell nobody. " * 8


@pytest.fixture
async def simulator(tmp_path: Path) -> AsyncIterator[Simulator]:
    async with simulating(tmp_path) as running:
        yield running


@pytest.fixture
async def bound(connect: Connect, simulator: Simulator) -> SmppClient:
    return await connect(simulator.port, system_id=SYSTEM_ID, password=PASSWORD)


async def submit(client: SmppClient, text: str) -> Sent:
    outcome = await client.submit(destination=NUMBER, text=text, source="Zasov", validity=timedelta(minutes=5), reference=0)
    assert isinstance(outcome, Sent)
    return outcome


def command_of(pdu: bytes) -> int:
    return int.from_bytes(pdu[4:8], "big")


async def test_a_bound_session_takes_and_acknowledges_what_the_simulator_sends(
    bound: SmppClient, simulator: Simulator, inbox: Inbox
) -> None:
    assert (await inbox.text()).body == GREETING
    await until(lambda: DELIVER_SM_RESP in map(command_of, simulator.received()))


@pytest.mark.parametrize(("text", "parts"), [("Zasov: code 4711.", 1), (RUSSIAN, 1), (LONG_RUSSIAN, 2), (LONG_ENGLISH, 3)])
async def test_a_text_of_any_length_in_either_alphabet_is_taken_and_every_part_has_its_receipt(
    bound: SmppClient, simulator: Simulator, inbox: Inbox, text: str, parts: int
) -> None:
    sent = await submit(bound, text)
    assert len(sent.message_ids) == parts
    submits = [pdu for pdu in simulator.received() if command_of(pdu) == SUBMIT_SM]
    encoded = text.encode("ascii" if text.isascii() else "utf-16-be")
    # The texts lie at the end of their PDUs, each behind its header.
    rest = encoded
    for pdu in submits:
        taken = next(size for size in range(min(len(rest), 160), 0, -1) if pdu.endswith(rest[:size]))
        rest = rest[taken:]
    assert rest == b""
    receipts = [await inbox.receipt() for _ in range(parts)]
    assert {receipt.state for receipt in receipts} == {MessageState.DELIVERED}
    assert {one_spelling(receipt.message_id, 10) for receipt in receipts} == {one_spelling(one, 16) for one in sent.message_ids}


async def test_a_full_window_of_texts_is_taken_each_once(bound: SmppClient, simulator: Simulator, inbox: Inbox) -> None:
    sent = await asyncio.gather(*(submit(bound, f"Zasov: {number}") for number in range(100)))
    assert len({one.message_id for one in sent}) == 100
    texts = [pdu.rpartition(b"Zasov: ")[2] for pdu in simulator.received() if command_of(pdu) == SUBMIT_SM]
    assert sorted(texts) == sorted(str(number).encode() for number in range(100))


async def test_a_wrong_password_is_a_typed_refusal(connect: Connect, simulator: Simulator) -> None:
    client = await connect(simulator.port, wait=False, system_id=SYSTEM_ID, password="wrong")
    with pytest.raises(BindRefused):
        await client.wait_bound(5)


async def test_a_quiet_link_is_tested_and_at_the_end_unbound(connect: Connect, simulator: Simulator) -> None:
    client = await connect(simulator.port, system_id=SYSTEM_ID, password=PASSWORD, enquire_idle_s=0.1)
    await until(lambda: ENQUIRE_LINK in map(command_of, simulator.received()))
    await client.close()
    assert command_of(simulator.received()[-1]) == UNBIND


@pytest.mark.kills
async def test_a_killed_simulator_is_found_again(bound: SmppClient, simulator: Simulator, inbox: Inbox) -> None:
    await simulator.kill()
    await until(lambda: not bound.bound)
    outcome = await bound.submit(
        destination=NUMBER, text="too early", source="Zasov", validity=timedelta(minutes=5), reference=0
    )
    assert isinstance(outcome, NotSent)
    assert outcome.retryable
    await simulator.start()
    await bound.wait_bound(10)
    await submit(bound, "Zasov: again")
    assert (await inbox.receipt()).state is MessageState.DELIVERED
