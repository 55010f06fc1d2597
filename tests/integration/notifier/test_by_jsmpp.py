"""Messages by way of an SMSC that we did not write (row B3): jSMPP's simulator."""

from pathlib import Path

import pytest
from pydantic import SecretStr

from services.chassis.postgres import Database
from tests.integration.notifier.conftest import Start, account_blocked, comes_to, names_of_facts, otp_issued
from tests.integration.simulator import PASSWORD, SYSTEM_ID, simulating


@pytest.mark.row("B3")
@pytest.mark.row("M11")
async def test_messages_are_sent_and_their_receipts_are_found_though_it_writes_ids_in_another_base(
    start: Start, database: Database, tmp_path: Path
) -> None:
    async with simulating(tmp_path) as simulator:
        notifier = await start(
            smpp_address=f"127.0.0.1:{simulator.port}",
            smpp_system_id=SYSTEM_ID,
            smpp_password=SecretStr(PASSWORD),
            smpp_receipt_ids="decimal",
        )
        # A notice has more than one part.
        events = [otp_issued(), account_blocked()]
        for event in events:
            await notifier.meet(event)
        for event in events:
            await comes_to(database, event, "delivered")
            assert await names_of_facts(database, event) == ["MessageSubmitted", "MessageDelivered"]
        await notifier.dispatcher.drain(5)
