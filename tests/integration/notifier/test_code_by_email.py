"""The whole way of a code by email, Kafka aside: otp issues it, the notifier claims it there, the mail server has it."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
from zasov.events.v1.otp_event_pb2 import OtpEvent
from zasov.otp.v1 import otp_service_pb2 as otp_pb

from devstack.mail_sink import MailSink
from devstack.mail_tls import make_certificates
from devstack.waiting import free_port
from services.chassis.keys import make_keys
from services.chassis.postgres import Database, migrate
from services.chassis.streams import OTP_EVENTS, headers_of
from services.notifier.settings import NotifierSettings
from services.otp.settings import OtpSettings
from tests.integration.notifier.conftest import Event, Start, comes_to
from tests.integration.otp.conftest import MIGRATIONS, RECOVERY, Otp, running

ADDRESS = "anna@пример.рф"
IN_ASCII = "anna@xn--e1afmkfd.xn--p1ai"


@pytest.fixture
async def otp(postgres_url: str, tmp_path: Path) -> AsyncIterator[Otp]:
    name = f"test_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE DATABASE {name}")
    make_keys(tmp_path / "keys", datetime.now(UTC))
    settings = OtpSettings(
        postgres_url=f"{postgres_url.rpartition('/')[0]}/{name}",
        keys_dir=tmp_path / "keys",
        listen=f"127.0.0.1:{free_port()}",
        sweep_interval_s=3600,
    )
    await migrate(settings, MIGRATIONS)
    async with running(settings) as started:
        yield started
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.close()


@pytest.fixture
async def sink(tmp_path: Path) -> AsyncIterator[MailSink]:
    async with MailSink(("127.0.0.1", 0), make_certificates(tmp_path / "mail").server_context()) as started:
        yield started


@pytest.fixture
def settings(settings: NotifierSettings, otp: Otp, sink: MailSink, tmp_path: Path) -> NotifierSettings:
    return settings.model_copy(
        update={
            "otp_address": otp.settings.listen,
            "smtp_address": sink.address,
            "smtp_ca_file": tmp_path / "mail" / "ca.pem",
            "smtp_sender": "no-reply@zasov.example",
        }
    )


@pytest.mark.row("M11")
@pytest.mark.row("M20")
@pytest.mark.parametrize("language", ["ru", "en"])
async def test_a_code_that_is_issued_for_an_address_arrives_there_and_is_right(
    otp: Otp, sink: MailSink, start: Start, database: Database, language: str
) -> None:
    notifier = await start()
    subject, flow = uuid4(), uuid4()
    issued = await otp.codes.Issue(
        otp_pb.IssueRequest(
            subject_id=str(subject),
            flow_id=str(flow),
            purpose=RECOVERY,
            destination=otp_pb.Destination(email=ADDRESS, language=language),
        ),
        timeout=10,
    )
    event = await announced(otp, UUID(issued.challenge_id))
    await notifier.meet(event)
    mail = await sink.wait(IN_ASCII)
    await comes_to(database, event, "submitted")
    assert issued.tag in mail.text
    (code,) = [line for line in mail.text.splitlines() if line.isdigit() and len(line) == issued.digits]
    assert code in mail.html
    checked = await otp.verify(issued, subject, flow, code)
    assert checked.outcome == otp_pb.VERIFY_OUTCOME_RIGHT


async def announced(otp: Otp, challenge_id: UUID) -> Event:
    """Its OtpIssued, as the relay publishes it."""
    row = await otp.sql.fetchrow("SELECT * FROM event WHERE stream_id = $1 AND version = 1", challenge_id)
    headers = headers_of("test", "OtpEvent", row["event_id"], row["type"], challenge_id, row["occurred_at"], None)
    return Event(OTP_EVENTS, row["type"], challenge_id, OtpEvent.FromString(row["data"]), row["event_id"], headers)
