"""Messages by a second SMSC, from the event to the handset and its receipt."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from zasov.events.v1.notifier_event_pb2 import MessageAmbiguous

from devstack.handsets import Handsets
from devstack.smsc import Smsc
from services.chassis.postgres import Database
from tests.integration.notifier.conftest import (
    PHONE,
    Notifier,
    Start,
    account_blocked,
    comes_to,
    facts_of,
    names_of_facts,
    otp_issued,
    until,
)

pytestmark = pytest.mark.row("B3")


@pytest.fixture
async def second(tmp_path: Path) -> AsyncIterator[Smsc]:
    at = ("127.0.0.1", 0)
    async with Smsc(listen=at, control=at, state_dir=tmp_path / "smsc2", system_id="zasov", password="devstack") as running:
        yield running


@pytest.fixture
async def with_two(start: Start, smsc: Smsc, second: Smsc) -> Notifier:
    notifier = await start(
        smpp2_address=f"127.0.0.1:{second.address[1]}", smpp2_password=SecretStr("devstack"), smpp2_rate=10_000
    )
    await until(lambda: smsc.sessions and second.sessions)
    return notifier


async def smscs_of_parts(database: Database) -> set[str]:
    return {row["smsc_id"] for row in await database.fetch("SELECT DISTINCT smsc_id FROM part")}


@pytest.mark.row("M11")
async def test_what_the_first_throttles_leaves_by_the_second_and_its_receipts_are_found(
    with_two: Notifier, handsets: Handsets, second: Smsc, database: Database
) -> None:
    await handsets.set_behaviour(refuse_count=-1, refuse_status=0x58)
    events = [otp_issued(), account_blocked()]
    for event in events:
        await with_two.meet(event)
    for event in events:
        row = await comes_to(database, event, "delivered")
        assert row["attempt"] == 1  # without a pause in between
        assert await names_of_facts(database, event) == ["MessageSubmitted", "MessageDelivered"]
    assert await smscs_of_parts(database) == {"smsc2"}
    assert await handsets.messages(PHONE) == []


@pytest.mark.row("M11")
async def test_when_the_first_hangs_only_what_is_reported_ambiguous_is_sent_twice_and_notices_never(
    with_two: Notifier, handsets: Handsets, smsc: Smsc, second: Smsc, database: Database
) -> None:
    # It takes and delivers what comes, and says nothing.
    await handsets.set_behaviour(drop_response_count=-1, ignore_enquire_link=True)
    codes, notices = [otp_issued() for _ in range(8)], [account_blocked() for _ in range(8)]
    for event in [*codes, *notices]:
        await with_two.meet(event)
    resent = 0
    for event in codes:
        await comes_to(database, event, "delivered")
        doubts = [fact for fact in await facts_of(database, event) if isinstance(fact, MessageAmbiguous)]
        assert all(fact.resent for fact in doubts)
        resent += len(doubts)
    in_doubt = 0
    for event in notices:
        row = await until(
            lambda event=event: database.fetch_row(  # type: ignore[misc]
                "SELECT * FROM message WHERE cause_event_id = $1 AND state IN ('delivered', 'ambiguous')", event.event_id
            )
        )
        in_doubt += row["state"] == "ambiguous"
    assert resent + in_doubt == 10  # the first's window
    by_first = await handsets.messages(PHONE)
    by_second = await Handsets(second.control_address).messages(PHONE)
    # A notice's first part went unanswered, and the others were not sent after it.
    assert len(by_first) == resent
    assert len(by_second) == len(codes) + len(notices) - in_doubt
    assert await smscs_of_parts(database) == {"smsc2"}


async def test_with_the_first_away_from_the_start_the_second_sends(
    start: Start, smsc: Smsc, second: Smsc, database: Database
) -> None:
    await smsc.__aexit__(None, None, None)
    notifier = await start(smpp2_address=f"127.0.0.1:{second.address[1]}", smpp2_password=SecretStr("devstack"))
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "delivered")


async def test_a_text_repeated_by_the_other_smsc_is_the_same_text(
    with_two: Notifier, handsets: Handsets, second: Smsc, database: Database
) -> None:
    for at in (handsets, Handsets(second.control_address)):
        await at.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True)
    assert await database.fetch_value("SELECT count(*) FROM inbound") == 1


@pytest.mark.row("M11")
async def test_answers_receipts_and_texts_that_are_sent_twice_count_once(
    notifier: Notifier, handsets: Handsets, database: Database
) -> None:
    await handsets.set_behaviour(twice=True)
    event = account_blocked()  # of several parts
    await notifier.meet(event)
    await comes_to(database, event, "delivered")
    await handsets.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True)
    after = otp_issued()
    await notifier.meet(after)
    await comes_to(database, after, "delivered")
    assert await names_of_facts(database, event) == ["MessageSubmitted", "MessageDelivered"]
    assert await names_of_facts(database, after) == ["MessageSubmitted", "MessageDelivered"]
    assert await database.fetch_value("SELECT count(*) FROM inbound") == 1
    assert await database.fetch_value("SELECT count(*) FROM early_receipt") == 0
