"""From an event to the handset, and what is recorded on the way."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from zasov.events.v1.notifier_event_pb2 import MessageFailed

from devstack.handsets import Handsets
from services.chassis.errors import unavailable
from services.chassis.postgres import Database
from tests.fakes.delivery_services import FakeDelivery, claimed_by_another, not_yet_known, void
from tests.integration.notifier.conftest import (
    PHONE,
    Notifier,
    Start,
    account_blocked,
    comes_to,
    facts_of,
    names_of_facts,
    otp_issued,
    password_changed,
    state_of,
    until,
)

SENT, FAILED = 1, 2


@pytest.mark.row("M4")
async def test_a_code_is_sent_once_though_its_event_comes_three_times(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    event = otp_issued()
    await asyncio.gather(*(notifier.meet(event) for _ in range(2)))
    message = await handsets.wait(PHONE)
    await comes_to(database, event, "delivered")
    await notifier.meet(event)
    await asyncio.sleep(0.3)
    assert message.text == "Код 4711 (запрос № 47). Никому не сообщайте."
    assert len(await handsets.messages(PHONE)) == 1
    assert len(issuer.claims) == 1
    assert await names_of_facts(database, event) == ["MessageSubmitted", "MessageDelivered"]


async def test_an_event_republished_under_a_new_mark_does_not_send_again(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "delivered")
    await database.execute("DELETE FROM consumer_mark")
    await notifier.meet(event)
    await asyncio.sleep(0.3)
    assert len(await handsets.messages(PHONE)) == 1
    assert len(issuer.claims) == 1


async def test_an_older_version_than_the_one_applied_asks_for_nothing(notifier: Notifier, database: Database) -> None:
    account = uuid4()
    newer, older = password_changed(account, version=8), password_changed(account, version=7)
    await notifier.meet(newer)
    await notifier.meet(older)
    assert await state_of(database, newer) is not None
    assert await state_of(database, older) is None


async def test_marks_of_two_topics_with_the_same_stream_id_are_apart(
    notifier: Notifier, handsets: Handsets, database: Database
) -> None:
    """An account's id is the stream of its events in auth and of its password's in lockout, with versions of their own."""
    account = uuid4()
    changed, blocked = password_changed(account, version=57), account_blocked(account, version=3)
    await notifier.meet(changed)
    await notifier.meet(blocked)
    await comes_to(database, changed, "delivered")
    await comes_to(database, blocked, "delivered")
    assert len(await handsets.messages(PHONE)) == 2


@pytest.mark.row("M20")
async def test_notices_go_out_in_the_language_of_the_subscriber(
    notifier: Notifier, handsets: Handsets, issuer: FakeDelivery
) -> None:
    issuer.answer.language = "en"
    await notifier.meet(account_blocked())
    assert "Forgot password?" in (await handsets.wait(PHONE)).text
    issuer.answer.language = "ru"
    await notifier.meet(password_changed())
    assert "Пароль изменён" in (await handsets.wait(PHONE, after=1)).text


@pytest.mark.row("M10")
async def test_the_validity_of_a_code_is_what_remains_of_its_life(
    notifier: Notifier, handsets: Handsets, issuer: FakeDelivery
) -> None:
    issuer.answer.remaining = timedelta(seconds=42)
    await notifier.meet(otp_issued())
    period = (await handsets.wait(PHONE)).validity_period
    assert period in ("000000000041000R", "000000000042000R")


@pytest.mark.row("M10")
async def test_a_message_past_its_deadline_is_not_sent(notifier: Notifier, handsets: Handsets, database: Database) -> None:
    event = otp_issued(age=timedelta(minutes=6))
    await notifier.meet(event)
    await comes_to(database, event, "failed")
    (fact,) = await facts_of(database, event)
    assert fact.reason == MessageFailed.REASON_EXPIRED
    assert await handsets.messages(PHONE) == []


@pytest.mark.row("M10")
async def test_a_code_whose_issuer_says_that_it_is_all_but_over_is_not_sent(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    """The issuer's clock decides, whatever the event said."""
    issuer.answer.remaining = timedelta(seconds=1)
    event = otp_issued()
    await notifier.meet(event)
    row = await comes_to(database, event, "failed")
    assert row["attempt"] == 0  # it was never offered to the SMSC
    assert await handsets.messages(PHONE) == []


async def test_messages_for_old_events_are_void_and_nothing_is_claimed(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    event = account_blocked(age=timedelta(hours=2))
    await notifier.meet(event)
    assert await state_of(database, event) == "void"
    await asyncio.sleep(0.3)
    assert issuer.claims == []
    assert await handsets.messages(PHONE) == []


async def test_a_void_claim_sends_nothing(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    issuer.refuse_claims.append(void())
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "void")
    (fact,) = await facts_of(database, event)
    assert fact.reason == MessageFailed.REASON_VOID
    assert await handsets.messages(PHONE) == []
    assert issuer.reports == []


async def test_a_claim_that_is_not_possible_yet_is_tried_again_when_told_to(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    soon = timedelta(milliseconds=50)
    issuer.refuse_claims.extend([not_yet_known(soon), claimed_by_another(soon), unavailable(soon)])
    event = account_blocked()
    await notifier.meet(event)
    await comes_to(database, event, "delivered")
    assert len(issuer.claims) == 4
    assert len(await handsets.messages(PHONE)) == 1


async def test_a_throttled_submit_backs_off_and_succeeds(notifier: Notifier, handsets: Handsets, database: Database) -> None:
    await handsets.set_behaviour(refuse_count=2, refuse_status=0x58)
    event = otp_issued()
    await notifier.meet(event)
    row = await comes_to(database, event, "delivered")
    assert row["attempt"] == 3
    assert await names_of_facts(database, event) == ["MessageSubmitted", "MessageDelivered"]


@pytest.mark.row("M10")
async def test_a_refusal_that_lasts_until_the_deadline_ends_as_expired(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    await handsets.set_behaviour(refuse_count=-1, refuse_status=0x14)
    event = otp_issued(lives=timedelta(seconds=3))
    await notifier.meet(event)
    await comes_to(database, event, "failed")
    (fact,) = await facts_of(database, event)
    assert fact.reason == MessageFailed.REASON_EXPIRED
    await until(lambda: issuer.reports == [(str(event.event_id), FAILED)])


async def test_a_terminal_refusal_fails_with_the_status_of_the_provider(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    await handsets.set_behaviour(refuse_count=1, refuse_status=0x0B)
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "failed")
    (fact,) = await facts_of(database, event)
    assert (fact.reason, fact.provider_status, fact.message.attempt) == (MessageFailed.REASON_REFUSED, 0x0B, 1)
    await until(lambda: issuer.reports == [(str(event.event_id), FAILED)])


async def test_a_report_that_is_not_taken_is_made_again(notifier: Notifier, database: Database, issuer: FakeDelivery) -> None:
    issuer.refuse_reports.extend([unavailable(), unavailable()])
    event = otp_issued()
    await notifier.meet(event)
    await until(lambda: issuer.reports == [(str(event.event_id), SENT)])
    row = await until(
        lambda: database.fetch_row("SELECT * FROM message WHERE cause_event_id = $1 AND reported", event.event_id)
    )
    assert (row["due_at"], row["lease"]) == (None, None)


async def test_messages_wait_for_the_smsc_and_go_out_when_it_is_back(
    notifier: Notifier, handsets: Handsets, database: Database
) -> None:
    await handsets.drop_all()
    await until(lambda: not notifier.dispatcher.can_send)
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "delivered")
    assert len(await handsets.messages(PHONE)) == 1


async def test_two_workers_share_what_is_due_and_send_each_message_once(
    start: Start, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    first, second = await start(), await start()
    first.dispatcher._draining = True  # takes nothing at once: all of it is left to be found
    events = [otp_issued() for _ in range(60)]
    for event in events:
        await first.meet(event)
    first.dispatcher._draining = False
    for event in events:
        await comes_to(database, event, "delivered")
    assert second is not first
    assert len(await handsets.messages(PHONE)) == 60
    assert len(issuer.claims) == 60
