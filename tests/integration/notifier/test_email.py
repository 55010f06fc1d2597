"""From an event to the mailbox: the claim says how a message travels, and each channel waits for itself."""

import asyncio
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs
from zasov.events.v1.notifier_event_pb2 import CHANNEL_EMAIL, CHANNEL_SMS, MessageFailed

from devstack.handsets import Handsets
from devstack.mail_sink import FOREVER, MailSink
from devstack.mail_tls import Certificates, make_certificates
from services.chassis.postgres import Database
from services.notifier.settings import NotifierSettings
from tests.fakes.delivery_services import FakeDelivery
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
from tests.integration.notifier.test_secrecy import everything_in

ADDRESS = "anna.canary@example.com"
SENT, FAILED = 1, 2


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    return make_certificates(tmp_path / "mail")


@pytest.fixture
async def sink(certificates: Certificates) -> AsyncIterator[MailSink]:
    async with MailSink(("127.0.0.1", 0), certificates.server_context()) as running:
        yield running


@pytest.fixture
def settings(settings: NotifierSettings, sink: MailSink, certificates: Certificates) -> NotifierSettings:
    changes = {
        "smtp_address": sink.address,
        "smtp_ca_file": certificates.ca,
        "smtp_sender": "no-reply@zasov.example",
        "smtp_timeout_s": 0.5,
        "smtp_answer_timeout_s": 0.5,
    }
    return settings.model_copy(update=changes)


@pytest.fixture
async def notifier(start: Start, issuer: FakeDelivery) -> Notifier:
    """Its issuers answer with an email address."""
    issuer.answer.email = ADDRESS
    started = await start()
    await until(lambda: len(started.dispatcher._up()) == 2)
    return started


@pytest.mark.row("M20")
@pytest.mark.row("M11")
async def test_a_code_is_sent_by_email_once_though_its_event_comes_three_times(
    notifier: Notifier, sink: MailSink, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    event = otp_issued()
    for _ in range(3):
        await notifier.meet(event)
    mail = await sink.wait(ADDRESS)
    row = await comes_to(database, event, "submitted")
    await until(lambda: issuer.reports == [(str(event.event_id), SENT)])
    assert mail.subject == "Zasov: ваш код"
    assert "4711" in mail.text
    assert "4711" in mail.html
    assert mail.headers["Message-ID"] == f"<{row['notification_id']}@zasov.example>"
    (fact,) = await facts_of(database, event)
    assert (fact.message.channel, fact.message.attempt, fact.parts) == (CHANNEL_EMAIL, 1, 1)
    assert len(sink.messages(ADDRESS)) == len(issuer.claims) == 1
    assert await handsets.messages(PHONE) == []


@pytest.mark.row("M20")
async def test_notices_go_out_by_email_in_the_language_of_the_subscriber(
    notifier: Notifier, sink: MailSink, issuer: FakeDelivery
) -> None:
    issuer.answer.language = "en"
    await notifier.meet(account_blocked())
    assert "Forgot password?" in (await sink.wait(ADDRESS)).text
    issuer.answer.language = "ru"
    await notifier.meet(password_changed())
    assert "Ваш пароль изменён" in (await sink.wait(ADDRESS, after=1)).text


async def test_an_event_republished_under_a_new_mark_does_not_send_again_by_another_channel(
    notifier: Notifier, sink: MailSink, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "submitted")
    await database.execute("DELETE FROM consumer_mark")
    issuer.answer.email = ""
    await notifier.meet(event)
    await asyncio.sleep(0.3)
    assert await handsets.messages(PHONE) == []
    assert len(issuer.claims) == 1


async def test_a_refusal_that_may_pass_is_tried_again_with_the_same_message_id(
    notifier: Notifier, sink: MailSink, database: Database
) -> None:
    sink.behave(refuse_count=2, refuse_code=450)
    event = otp_issued()
    await notifier.meet(event)
    row = await comes_to(database, event, "submitted")
    assert row["attempt"] == 3
    (mail,) = sink.messages(ADDRESS)
    assert mail.headers["Message-ID"] == f"<{row['notification_id']}@zasov.example>"
    assert await names_of_facts(database, event) == ["MessageSubmitted"]


async def test_a_refusal_for_good_fails_with_the_code_of_the_mail_server(
    notifier: Notifier, sink: MailSink, database: Database, issuer: FakeDelivery
) -> None:
    sink.behave(refuse_count=1, refuse_code=550)
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "failed")
    (fact,) = await facts_of(database, event)
    assert (fact.reason, fact.provider_status, fact.message.channel) == (MessageFailed.REASON_REFUSED, 550, CHANNEL_EMAIL)
    await until(lambda: issuer.reports == [(str(event.event_id), FAILED)])
    assert sink.messages(ADDRESS) == []


@pytest.mark.row("M11")
async def test_a_notice_whose_connection_dies_while_it_is_taken_is_ambiguous_and_not_sent_again(
    notifier: Notifier, sink: MailSink, database: Database
) -> None:
    sink.behave(drop_count=1, drop_at="answer")
    event = account_blocked()
    await notifier.meet(event)
    await comes_to(database, event, "ambiguous")
    (fact,) = await facts_of(database, event)
    assert (fact.resent, fact.message.channel) == (False, CHANNEL_EMAIL)
    await asyncio.sleep(0.3)
    assert len(sink.messages(ADDRESS)) == 1


@pytest.mark.row("M11")
async def test_a_code_in_doubt_is_sent_again_once_and_the_mailbox_can_tell(
    notifier: Notifier, sink: MailSink, database: Database
) -> None:
    sink.behave(drop_count=1, drop_at="answer")
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "submitted")
    assert await names_of_facts(database, event) == ["MessageAmbiguous", "MessageSubmitted"]
    first, second = sink.messages(ADDRESS)
    assert first.headers["Message-ID"] == second.headers["Message-ID"]


async def test_texts_wait_for_the_smsc_while_emails_go_out_and_the_other_way_round(
    notifier: Notifier, sink: MailSink, handsets: Handsets, database: Database, issuer: FakeDelivery, certificates: Certificates
) -> None:
    issuer.answer.email = ""
    await handsets.drop_all()
    await until(lambda: len(notifier.dispatcher._up()) == 1)
    texted = otp_issued()
    await notifier.meet(texted)
    await comes_to(database, texted, "delivered")
    assert (await facts_of(database, texted))[0].message.attempt == 1, "waiting is no try"
    assert (await facts_of(database, texted))[0].message.channel == CHANNEL_SMS

    issuer.answer.email = ADDRESS
    sink.behave(drop_count=FOREVER, drop_at="mail")
    mailed = otp_issued()
    await notifier.meet(mailed)
    await until(lambda: len(notifier.dispatcher._up()) == 1)
    issuer.answer.email = ""
    again = otp_issued()
    await notifier.meet(again)
    await comes_to(database, again, "delivered")
    assert await state_of(database, mailed) == "pending"
    issuer.answer.email = ADDRESS
    sink.behave(drop_count=0)
    await comes_to(database, mailed, "submitted")


async def test_a_message_that_waits_for_its_channel_is_given_up_at_its_deadline(
    start: Start, issuer: FakeDelivery, sink: MailSink, database: Database
) -> None:
    sink.behave(starttls=False)
    issuer.answer.email = ADDRESS
    notifier = await start()
    event = otp_issued(lives=timedelta(seconds=3))
    await notifier.meet(event)
    await comes_to(database, event, "failed")
    (fact,) = await facts_of(database, event)
    assert (fact.reason, fact.message.attempt) == (MessageFailed.REASON_EXPIRED, 0)
    assert sink.messages(ADDRESS) == []


async def test_a_worker_without_a_mail_server_says_that_it_can_not_send(
    start: Start, issuer: FakeDelivery, database: Database
) -> None:
    issuer.answer.email = ADDRESS
    notifier = await start(smtp_address="")
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "failed")
    await until(lambda: issuer.reports == [(str(event.event_id), FAILED)])


async def test_a_claim_that_names_two_destinations_or_none_sends_nothing(
    notifier: Notifier, sink: MailSink, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    issuer.answer.email, issuer.answer.phone = "", ""
    event = otp_issued()
    await notifier.meet(event)
    await until(lambda: len(issuer.claims) > 2)
    assert await state_of(database, event) == "pending"
    issuer.answer.phone = PHONE
    await comes_to(database, event, "delivered")
    assert sink.messages(ADDRESS) == []


@pytest.mark.row("B2")
async def test_no_address_or_text_of_an_email_is_left_in_any_table_log_or_metric(
    notifier: Notifier,
    sink: MailSink,
    database: Database,
    database_url: str,
    issuer: FakeDelivery,
    caplog: pytest.LogCaptureFixture,
) -> None:
    issuer.answer.code = "27182818"
    caplog.set_level(logging.DEBUG)
    with capture_logs() as lines:
        for knobs, state in (
            ({}, "submitted"),
            ({"refuse_count": 1, "refuse_code": 550}, "failed"),
            ({"refuse_count": 1, "refuse_code": 450}, "submitted"),
            ({"drop_count": 1, "drop_at": "rcpt"}, "submitted"),
            ({"drop_count": 2, "drop_at": "content"}, "ambiguous"),
        ):
            sink.behave(**knobs)
            event = otp_issued()
            await notifier.meet(event)
            await comes_to(database, event, state)
        issuer.answer.email = ADDRESS + "\r\nRCPT TO:<boris@example.com>"
        unsendable = otp_issued()
        await notifier.meet(unsendable)
        await comes_to(database, unsendable, "failed")
    ours = [record for record in caplog.records if not record.name.startswith("mail.")]  # the sink's own
    places = {
        "tables": await everything_in(database_url),
        "logs": "\n".join(map(str, lines)),
        "libraries' logs": "\n".join(f"{record.msg} {record.args}" for record in ours),
        "metrics": generate_latest().decode(),
    }
    canaries = (ADDRESS, "anna.canary", "27182818", "Никому его не сообщайте")
    assert [(place, canary) for place, text in places.items() for canary in canaries if canary in text] == []
    assert "27182818" in sink.messages(ADDRESS)[0].text  # the canaries did go out
