"""Every message there is, in each language and by each way that it goes, from its event to the handset or the mailbox."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from zasov.events.v1.auth_event_pb2 import (
    ContactChanged,
    ContactChangeRequested,
    ContactReplaced,
    NumberLinked,
    PasswordChanged,
    PasswordProposalRefused,
    PasswordReset,
    SignedInFromNewDevice,
    SmsCommandNotUnderstood,
    TemporaryPasswordUsed,
)
from zasov.events.v1.otp_event_pb2 import (
    OTP_PURPOSE_OFFICE_PASSWORD,
    OTP_PURPOSE_OFFICE_SLIP,
    OTP_PURPOSE_PROPOSED_PASSWORD,
    OTP_PURPOSE_TEMPORARY_PASSWORD,
)

from devstack.handsets import Handsets
from devstack.mail_sink import MailSink
from devstack.mail_tls import make_certificates
from services.chassis.postgres import Database
from services.notifier.domain import FROM_OTP, Kind
from services.notifier.moments import Moments
from services.notifier.settings import NotifierSettings
from services.notifier.templates import BY_EMAIL, LANGUAGES, MOST_PARTS, Templates
from tests.fakes.delivery_services import FakeDelivery, void
from tests.integration.notifier.conftest import (
    PHONE,
    Event,
    Start,
    account_blocked,
    auth_event,
    comes_to,
    otp_issued,
    password_changed,
    until,
)

pytestmark = pytest.mark.row("M20")

ADDRESS = "anna@example.com"
CAUSES: dict[Kind, Callable[[], Event]] = {
    Kind.CODE: otp_issued,
    Kind.TEMPORARY_PASSWORD: lambda: otp_issued(purpose=OTP_PURPOSE_TEMPORARY_PASSWORD),
    Kind.PROPOSED_PASSWORD: lambda: otp_issued(purpose=OTP_PURPOSE_PROPOSED_PASSWORD),
    Kind.PROPOSAL_REFUSED: lambda: auth_event(PasswordProposalRefused(failed_rules=["digit"])),
    Kind.SMS_HELP: lambda: auth_event(SmsCommandNotUnderstood()),
    Kind.ACCOUNT_BLOCKED: account_blocked,
    Kind.PASSWORD_CHANGED: lambda: auth_event(PasswordReset(credential_version=2)),
    Kind.SIGN_IN_REOPENED: lambda: auth_event(PasswordReset(credential_version=2, lifted_block=True)),
    Kind.TEMPORARY_PASSWORD_USED: lambda: auth_event(TemporaryPasswordUsed(credential_version=2, lifted_block=True)),
    Kind.NEW_DEVICE: lambda: auth_event(SignedInFromNewDevice(session_id="018f0000-0000-7000-8000-000000000000")),
    Kind.NUMBER_LINKED: lambda: auth_event(NumberLinked(link_id="018f0000-0000-7000-8000-000000000001")),
    Kind.CONTACT_CHANGED: lambda: auth_event(ContactReplaced(part=ContactChanged.PART_PHONE)),
    Kind.OFFICE_PASSWORD: lambda: otp_issued(purpose=OTP_PURPOSE_OFFICE_PASSWORD),
    Kind.OFFICE_SLIP: lambda: otp_issued(purpose=OTP_PURPOSE_OFFICE_SLIP),
    Kind.CONTACT_CHANGE_REQUESTED: lambda: auth_event(ContactChangeRequested()),
}


def fields_of(kind: Kind, event: Event, language: str) -> dict[str, str]:
    if kind in FROM_OTP:
        return {"code": "4711", "tag": "47"}
    return {"when": Moments("Europe/Moscow").of(event.event_id, language)} if kind is Kind.NEW_DEVICE else {}


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[MailSink]:
    async with MailSink(("127.0.0.1", 0), make_certificates(tmp_path / "mail").server_context()) as running:
        yield running


@pytest.fixture
def settings(settings: NotifierSettings, sink: MailSink, tmp_path: Path) -> NotifierSettings:
    certificates = tmp_path / "mail" / "ca.pem"
    return settings.model_copy(
        update={"smtp_address": sink.address, "smtp_ca_file": certificates, "smtp_sender": "no-reply@zasov.example"}
    )


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_message_reaches_the_handset_in_the_subscribers_language_and_within_its_parts(
    start: Start, handsets: Handsets, database: Database, issuer: FakeDelivery, language: str
) -> None:
    notifier, texts = await start(), Templates()
    issuer.answer.language = language
    for number, (kind, cause) in enumerate(CAUSES.items()):
        event = cause()
        await notifier.meet(event)
        message = await handsets.wait(PHONE, after=number)
        assert message.text == texts.render(kind, language, fields_of(kind, event, language))
        assert message.parts <= MOST_PARTS[kind, language]
        assert (await comes_to(database, event, "delivered"))["kind"] == kind
    assert CAUSES.keys() == set(Kind)


@pytest.mark.parametrize("language", LANGUAGES)
async def test_every_message_that_has_letters_reaches_the_mailbox_in_the_subscribers_language(
    start: Start, sink: MailSink, issuer: FakeDelivery, language: str
) -> None:
    notifier, texts = await start(), Templates()
    issuer.answer.language, issuer.answer.email = language, ADDRESS
    for number, kind in enumerate(sorted(BY_EMAIL)):
        event = CAUSES[kind]()
        await notifier.meet(event)
        mail = await sink.wait(ADDRESS, after=number)
        letter = texts.letter(kind, language, fields_of(kind, event, language))
        assert (mail.subject, mail.text.split()) == (letter.subject, letter.text.split())
        assert mail.html


async def test_what_has_no_letters_is_refused_for_an_address_and_reported(
    start: Start, sink: MailSink, database: Database, issuer: FakeDelivery
) -> None:
    notifier = await start()
    issuer.answer.email = ADDRESS
    for kind in sorted(set(Kind) - BY_EMAIL):
        event = CAUSES[kind]()
        await notifier.meet(event)
        await comes_to(database, event, "failed")
    assert sink.messages(ADDRESS) == []


async def test_what_auth_keeps_quiet_is_void_without_a_second_claim(
    start: Start, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    notifier = await start()
    issuer.refuse_claims.append(void())
    event = CAUSES[Kind.NEW_DEVICE]()
    await notifier.meet(event)
    await comes_to(database, event, "void")
    told = password_changed()
    await notifier.meet(told)
    await comes_to(database, told, "delivered")
    assert len(await handsets.messages(PHONE)) == 1
    await until(lambda: len(issuer.claims) == 2)


async def test_a_one_time_password_that_lifted_no_block_asks_for_no_message(start: Start, database: Database) -> None:
    notifier = await start()
    await notifier.meet(auth_event(TemporaryPasswordUsed(credential_version=2)))
    assert await database.fetch_value("SELECT count(*) FROM message") == 0


async def test_a_change_by_the_old_password_is_told_as_one(start: Start, handsets: Handsets) -> None:
    await (await start()).meet(auth_event(PasswordChanged(credential_version=2)))
    assert "Пароль изменён" in (await handsets.wait(PHONE)).text
