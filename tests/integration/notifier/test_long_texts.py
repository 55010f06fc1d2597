"""Long texts that go to one handset at the same time."""

import asyncio

import pytest

from devstack.handsets import Handsets
from services.chassis.postgres import Database
from tests.integration.notifier.conftest import PHONE, Start, account_blocked, comes_to

_MANY = 20


@pytest.mark.row("M20")
async def test_of_long_texts_from_two_workers_at_once_each_arrives_whole(
    start: Start, handsets: Handsets, database: Database
) -> None:
    """A handset joins parts of one sender that bear one reference, whosever they are."""
    workers = [await start(sms_per_number=_MANY, lease_s=30.0, smpp_response_timeout_s=5.0) for _ in range(2)]
    # Longer than it takes to begin all of them: their parts go out by turns.
    await handsets.set_behaviour(response_delay_s=0.3)
    events = [account_blocked() for _ in range(_MANY)]
    await asyncio.gather(*(workers[number % 2].meet(event) for number, event in enumerate(events)))
    for event in events:
        await comes_to(database, event, "delivered")
    texts = await handsets.messages(PHONE)
    assert len(texts) == _MANY
    assert len({text.text for text in texts}) == 1
    assert all(text.parts > 1 for text in texts)
