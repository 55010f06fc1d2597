"""Notices: whom to tell, once, under a lease; and no other way from an account id to a number."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import uuid6
from zasov.auth.v1 import delivery_service_pb2 as pb

from services.auth.notices import Notices
from services.auth.settings import AuthSettings
from services.chassis.postgres import open_database
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import NEW_PASSWORD, PHONE, Suite, refusal


async def claim(suite: Suite, account: Any, event: Any, claimant: str = "worker-1") -> Any:
    request = pb.ClaimRequest(account_id=str(account), event_id=str(event), claimant=claimant)
    return await suite.auth.delivery.Claim(request, timeout=10)


async def report(suite: Suite, account: Any, event: Any) -> None:
    request = pb.ReportRequest(account_id=str(account), event_id=str(event), outcome=pb.DELIVERY_OUTCOME_SENT)
    await suite.auth.delivery.Report(request, timeout=10)


async def changed(suite: Suite, language: str = "en") -> tuple[str, UUID]:
    """An account, and the event of its new password."""
    session = await suite.register(language=language)
    await suite.auth.change(session.token, new=NEW_PASSWORD)
    event = await suite.sql.fetchval("SELECT event_id FROM event WHERE type = 'PasswordChanged'")
    return session.account_id, event


@pytest.mark.row("M20")
async def test_a_new_password_can_be_told_of_to_the_number_in_its_language(start: StartSuite) -> None:
    suite = await start(auth={"notice_lifetime_s": 3600})
    account, event = await changed(suite)
    claimed = await claim(suite, account, event)
    assert (claimed.phone, claimed.language) == (PHONE, "en")
    assert 3_500_000 < claimed.remaining_ms <= 3_600_000
    await suite.recover(PHONE, NEW_PASSWORD)
    reset = await suite.sql.fetchval("SELECT event_id FROM event WHERE type = 'PasswordReset'")
    assert (await claim(suite, account, reset)).phone == PHONE
    audited = await suite.sql.fetch("SELECT claimant, claimed_at FROM notice")
    assert [(row["claimant"], row["claimed_at"] is not None) for row in audited] == [("worker-1", True)] * 2


@pytest.mark.row("B2")
async def test_no_event_but_those_that_are_to_be_told_of_leads_to_a_number(suite: Suite) -> None:
    account, event = await changed(suite)
    somebody = (await suite.register("+79161234568")).account_id
    rows = await suite.sql.fetch("SELECT event_id FROM event WHERE event_id <> $1", event)
    for other in [row["event_id"] for row in rows] + [uuid6.uuid7()]:
        refused = await refusal(claim(suite, account, other))
        assert (refused.code, refused.reason) == ("UNAVAILABLE", "NOTICE_NOT_YET_KNOWN")
        assert refused.retry_s
    assert (await refusal(claim(suite, somebody, event))).reason == "NOTICE_NOT_YET_KNOWN"
    for strange in (uuid4(), UUID("018f0000-0000-7000-8000-000000000000"), UUID(int=0)):
        refused = await refusal(claim(suite, account, strange))
        assert (refused.code, refused.reason) == ("NOT_FOUND", "DELIVERY_VOID")
    absurd = await refusal(claim(suite, account, UUID("ffffffff-ffff-7fff-8fff-ffffffffffff")))
    assert absurd.reason == "NOTICE_NOT_YET_KNOWN"


async def test_a_claim_is_one_workers_until_its_lease_runs_out(start: StartSuite) -> None:
    suite = await start(auth={"notice_lease_s": 15})
    account, event = await changed(suite)
    await claim(suite, account, event)
    await claim(suite, account, event)  # its own claim can be renewed
    refused = await refusal(claim(suite, account, event, "worker-2"))
    assert (refused.code, refused.reason) == ("FAILED_PRECONDITION", "DELIVERY_CLAIMED")
    assert refused.retry_s is not None
    assert 10 < refused.retry_s <= 15
    await suite.sql.execute("UPDATE notice SET lease_until = clock_timestamp()")
    assert (await claim(suite, account, event, "worker-2")).phone == PHONE
    assert (await refusal(claim(suite, account, event))).reason == "DELIVERY_CLAIMED"


async def test_a_notice_that_was_closed_or_has_expired_is_void(suite: Suite) -> None:
    account, event = await changed(suite)
    await suite.sql.execute("UPDATE notice SET expires_at = clock_timestamp()")
    assert (await refusal(claim(suite, account, event))).reason == "DELIVERY_VOID"
    await suite.sql.execute("UPDATE notice SET expires_at = clock_timestamp() + interval '1 h'")
    await claim(suite, account, event)
    for _ in range(2):
        await report(suite, account, event)
    assert (await refusal(claim(suite, account, event))).reason == "DELIVERY_VOID"
    await report(suite, account, uuid4())


@pytest.mark.row("M20")
async def test_an_event_of_another_service_is_claimed_once_auth_has_met_it(suite: Suite, urls: dict[str, str]) -> None:
    account, event, now = (await suite.register()).account_id, uuid6.uuid7(), datetime.now(UTC)
    assert (await refusal(claim(suite, account, event))).reason == "NOTICE_NOT_YET_KNOWN"
    async with open_database(AuthSettings(postgres_url=urls["auth"])) as database:
        notices = Notices(database, None, timedelta(hours=1), timedelta(seconds=15))  # type: ignore[arg-type]
        await notices.announce(UUID(account), event, now)
        await claim(suite, account, event)
        await notices.announce(UUID(account), event, now)
    assert (await refusal(claim(suite, account, event, "worker-2"))).reason == "DELIVERY_CLAIMED", "announced twice is once"


@pytest.mark.row("B5")
async def test_a_replay_of_an_old_event_opens_no_way_to_a_number_though_its_notice_is_gone(
    suite: Suite, urls: dict[str, str]
) -> None:
    account = UUID((await suite.register()).account_id)
    now = datetime.now(UTC)
    async with open_database(AuthSettings(postgres_url=urls["auth"])) as database:
        notices = Notices(database, None, timedelta(hours=1), timedelta(seconds=15))  # type: ignore[arg-type]
        await notices.announce(account, uuid4(), now - timedelta(hours=1, seconds=1))
        assert await suite.sql.fetchval("SELECT count(*) FROM notice") == 0
        await notices.announce(account, uuid4(), now - timedelta(minutes=59))
    left = await suite.sql.fetchval("SELECT expires_at - clock_timestamp() FROM notice")
    assert left <= timedelta(minutes=1), "its time has been running since it happened"
