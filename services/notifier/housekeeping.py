"""What the notifier forgets."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from services.chassis.postgres import AWAY
from services.notifier.store import Store


async def forget_for_ever(store: Store, receipts_after: timedelta) -> None:
    """Receipts whose submit never was stored, and counts of what went out that no limit asks for any more."""
    while True:
        with suppress(*AWAY):
            await store.forget_early_receipts(receipts_after)
            await store.forget_old_counts()
        await asyncio.sleep(receipts_after.total_seconds() / 10)
