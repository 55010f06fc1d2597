"""The notifier's messages doctored, lost and made again from its events; and nobody gets an old SMS again (mission row B5)."""

from datetime import timedelta

import pytest

from devstack.handsets import Handsets
from services.chassis.postgres import Database
from services.chassis.rebuild import Report
from services.notifier.rebuild import rebuild
from services.notifier.settings import NotifierSettings
from tests.fakes.delivery_services import FakeDelivery
from tests.integration.notifier.conftest import (
    PHONE,
    Event,
    Notifier,
    Start,
    account_blocked,
    comes_to,
    names_of_facts,
    otp_issued,
    state_of,
    until,
)
from tests.integration.rebuilding import assert_found_and_mended

pytestmark = pytest.mark.row("B5")

# What is not made of events is not put back: leases, the id of a trace.
COLUMNS = (
    "notification_id, cause_event_id, cause_stream_id, kind, channel, version, created_at, deadline, resends, report,"
    " CASE WHEN state = 'submitting' THEN 'pending' ELSE state END,"
    " CASE WHEN state IN ('pending', 'submitting') THEN 0 ELSE attempt END"
)
CHANGES = {
    "message": [
        "UPDATE message SET state = 'pending' WHERE state = 'delivered'",
        "UPDATE message SET state = 'delivered' WHERE state = 'void'",
        "UPDATE message SET version = version + 1",
        "UPDATE message SET attempt = attempt + 1 WHERE state = 'delivered'",
        "UPDATE message SET resends = 1",
        "UPDATE message SET report = NULL WHERE report = 'sent'",
        "UPDATE message SET deadline = deadline + interval '1 microsecond'",
        "UPDATE message SET created_at = created_at - interval '1 microsecond'",
        "UPDATE message SET cause_stream_id = gen_random_uuid()",
        "UPDATE message SET kind = 'account_blocked' WHERE kind = 'code'",
        "UPDATE message SET channel = 'email' WHERE channel = 'sms'",
        "INSERT INTO message (notification_id, cause_event_id, cause_stream_id, kind, channel, state, deadline)"
        " VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'code', 'sms', 'pending', now())",
        "DELETE FROM message",
    ],
}


async def live(notifier: Notifier, database: Database) -> Event:
    delivered, old = otp_issued(), account_blocked(age=timedelta(hours=2))
    await notifier.meet(delivered)
    await notifier.meet(old)
    await comes_to(database, delivered, "delivered")
    await comes_to(database, old, "void")
    await until(lambda: database.fetch_value("SELECT bool_and(reported) FROM message WHERE report IS NOT NULL"))
    return delivered


async def test_what_was_changed_or_lost_by_hand_is_found_and_put_right(
    start: Start, settings: NotifierSettings, database: Database
) -> None:
    notifier = await start()
    await live(notifier, database)
    await notifier.dispatcher.drain(5)  # as the operator stops the worker
    waiting = otp_issued()
    await notifier.meet(waiting)

    async def run(replace: bool) -> Report:
        return await rebuild(settings, replace=replace)

    async with database.connection() as connection:
        await assert_found_and_mended(run, connection, CHANGES, COLUMNS)  # type: ignore[arg-type]


async def test_when_messages_and_marks_are_lost_a_replay_after_the_rebuild_sends_nothing(
    notifier: Notifier, settings: NotifierSettings, database: Database, handsets: Handsets, issuer: FakeDelivery
) -> None:
    event = await live(notifier, database)
    events = await database.fetch_value("SELECT count(*) FROM event")
    await database.execute("TRUNCATE message, part, consumer_mark")
    await rebuild(settings, replace=True)
    await notifier.meet(event)
    assert await state_of(database, event) == "delivered"
    await until(lambda: database.fetch_value("SELECT bool_and(reported) FROM message WHERE report IS NOT NULL"))
    assert len(await handsets.messages(PHONE)) == 1
    assert len(issuer.claims) == 1
    assert await database.fetch_value("SELECT count(*) FROM event") == events


async def test_a_message_whose_row_was_lost_before_it_was_sent_is_treated_as_in_doubt(
    start: Start, settings: NotifierSettings, database: Database, handsets: Handsets
) -> None:
    """It may have been on the wire: a notice is not sent then, a code once (M10)."""
    idle = await start(lease_s=60.0)
    await idle.dispatcher.drain(0)
    notice, code = account_blocked(), otp_issued()
    for event in (notice, code):
        await idle.meet(event)
    await database.execute("TRUNCATE message, part")
    assert (await rebuild(settings, replace=True)).replaced
    await start()
    await comes_to(database, notice, "ambiguous")
    await comes_to(database, code, "delivered")
    assert await names_of_facts(database, code) == ["MessageAmbiguous", "MessageSubmitted", "MessageDelivered"]
    assert len(await handsets.messages(PHONE)) == 1
