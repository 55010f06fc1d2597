"""Mission row B2: no number, code or text in a table, an event, a log line, a metric or what an exception shows."""

import logging
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs

from devstack.handsets import Handsets
from services.chassis.clock import boottime
from services.chassis.errors import unavailable
from services.chassis.postgres import Database
from services.notifier.channels import Outgoing
from services.notifier.domain import ChannelId
from services.notifier.issuers import Claimed
from services.notifier.settings import NotifierSettings
from tests.fakes.delivery_services import FakeDelivery
from tests.integration.notifier.conftest import Notifier, account_blocked, comes_to, otp_issued, password_changed

PHONE, CODE, TAG = "+79163141592", "27182818", "tagcanary"
CANARIES = (PHONE, PHONE[1:], CODE, TAG, "Никому не сообщайте", "Вход по паролю закрыт")


async def everything_in(database_url: str) -> str:
    """Every column of every table, bytes as the text that they hold."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        seen = []
        for (table,) in tables:
            for row in await connection.fetch(f'SELECT * FROM "{table}"'):
                seen += [value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value) for value in row]
        assert {"message", "part", "event", "outbox"} <= {table for (table,) in tables}
        return "\n".join(seen)
    finally:
        await connection.close()


@pytest.mark.row("B2")
async def test_nothing_secret_is_left_in_any_table_log_or_metric(
    notifier: Notifier,
    handsets: Handsets,
    database: Database,
    database_url: str,
    issuer: FakeDelivery,
    caplog: pytest.LogCaptureFixture,
) -> None:
    issuer.answer.phone, issuer.answer.code, issuer.answer.tag = PHONE, CODE, TAG
    caplog.set_level(logging.DEBUG)
    with capture_logs() as lines:
        delivered, notice = otp_issued(), account_blocked()
        await notifier.meet(delivered)
        await notifier.meet(notice)
        await comes_to(database, delivered, "delivered")
        await comes_to(database, notice, "delivered")

        await handsets.set_behaviour(refuse_count=1, refuse_status=0x0B)
        refused = otp_issued()
        await notifier.meet(refused)
        await comes_to(database, refused, "failed")

        await handsets.set_behaviour(lose_count=1)
        lost = password_changed()
        await notifier.meet(lost)
        await comes_to(database, lost, "ambiguous")

        issuer.refuse_claims.append(unavailable(timedelta(milliseconds=50)))
        await handsets.set_behaviour(final_state="UNDELIVERABLE")
        undelivered = otp_issued()
        await notifier.meet(undelivered)
        await comes_to(database, undelivered, "failed")

        issuer.answer.phone = PHONE + "x"  # can't be sent: what says so must not quote it
        unsendable = otp_issued()
        await notifier.meet(unsendable)
        await comes_to(database, unsendable, "failed")
    places = {
        "tables": await everything_in(database_url),
        "logs": "\n".join(map(str, lines)),
        "libraries' logs": "\n".join(f"{record.msg} {record.args}" for record in caplog.records),
        "metrics": generate_latest().decode(),
    }
    found = [(place, canary) for place, text in places.items() for canary in CANARIES if canary in text]
    assert found == []
    assert (await handsets.messages(PHONE))[0].text  # the canaries did go out


@pytest.mark.row("B2")
async def test_what_is_claimed_does_not_show_itself(settings: NotifierSettings) -> None:
    claimed = Claimed(ChannelId.SMS, PHONE, "ru", {"code": CODE, "tag": TAG}, boottime(), has_account=True)
    outgoing = Outgoing(uuid4(), PHONE, f"Код {CODE}. Никому не сообщайте", timedelta(seconds=1))
    shown = repr(claimed) + str(claimed) + repr(claimed.recipient) + repr(outgoing) + str(outgoing)
    shown += repr(settings) + repr(settings.smscs())
    assert not [canary for canary in (*CANARIES, "devstack'") if canary in shown]
