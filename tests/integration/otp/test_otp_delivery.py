"""Claim and Report: who may have the plain code, and how long."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from zasov.events.v1.otp_event_pb2 import OtpEvent
from zasov.otp.v1 import delivery_service_pb2 as delivery_pb
from zasov.otp.v1 import otp_service_pb2 as otp_pb

from tests.integration.otp.conftest import RECOVERY

PHONE = "+79161234567"


async def refused(call: Any) -> tuple[grpc.StatusCode, str, float]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in rpc_status.from_call(caught.value).details:
        detail.Unpack(info)
        detail.Unpack(retry)
    return caught.value.code(), info.reason, retry.retry_delay.ToTimedelta().total_seconds()


async def is_void(call: Any) -> bool:
    return (await refused(call))[:2] == (grpc.StatusCode.NOT_FOUND, "DELIVERY_VOID")


@pytest.mark.row("M4")
async def test_a_claim_gives_everything_that_the_message_needs(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    claimed = await otp.claim(issued)
    assert (claimed.phone, claimed.language, claimed.tag) == (PHONE, "ru", issued.tag)
    assert claimed.expires_at == issued.expires_at
    assert 295_000 < claimed.remaining_ms <= 300_000


async def test_a_claim_says_whether_the_recipient_has_an_account_and_nothing_else_does(otp: Any, subject: UUID) -> None:
    sealed = []
    for has_account in (True, False):
        issued = await otp.issue(subject, uuid4(), has_account=has_account)
        assert (await otp.claim(issued)).has_account is has_account
        sealed.append(
            await otp.sql.fetchval("SELECT length(sealed) FROM delivery WHERE challenge_id = $1", UUID(issued.challenge_id))
        )
        await otp.pass_cool_down(subject)
    assert sealed[0] == sealed[1]
    told = []
    for row in await otp.sql.fetch("SELECT data FROM event WHERE type = 'OtpIssued'"):
        event = OtpEvent.FromString(row["data"])
        for own in ("event_id", "stream_id", "occurred_at"):
            event.meta.ClearField(own)
        event.otp_issued.ClearField("expires_at")
        told.append(event)
    assert len(told) == 2
    assert told[0] == told[1]


async def test_a_repeated_claim_answers_the_same_code_and_renews_the_lease(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    first = await otp.claim(issued)
    until = await otp.sql.fetchval("SELECT claimed_until FROM delivery")
    assert (await otp.claim(issued)).code == first.code
    assert await otp.sql.fetchval("SELECT claimed_until FROM delivery") > until


async def test_another_worker_waits_until_the_lease_is_over(start: Any, subject: UUID, flow: UUID) -> None:
    otp = await start(lease_s=0.6)
    issued = await otp.issue(subject, flow)
    code = (await otp.claim(issued, "a")).code
    status, reason, seconds = await refused(otp.claim(issued, "b"))
    assert (status, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "DELIVERY_CLAIMED")
    assert 0 < seconds <= 0.6
    await asyncio.sleep(seconds)
    assert (await otp.claim(issued, "b")).code == code


async def test_of_two_workers_at_once_one_gets_the_claim(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    event_id = await otp.issued_event_id(issued)
    async with otp.sql.transaction():
        claim = "SELECT outcome FROM claim_delivery($1, $2, 'a', interval '15 s')"
        assert await otp.sql.fetchval(claim, UUID(issued.challenge_id), event_id) == "given"
        request = delivery_pb.ClaimRequest(challenge_id=issued.challenge_id, event_id=str(event_id), claimant="b")
        other = asyncio.ensure_future(otp.deliveries.Claim(request, timeout=10))
        await otp.until_waiting_for_locks(1)
    assert (await refused(other))[1] == "DELIVERY_CLAIMED"


@pytest.mark.row("B2")
async def test_every_claim_is_audited_without_the_secret(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    await otp.claim(issued, "a")
    await otp.claim(issued, "a")
    await refused(otp.claim(issued, "b"))
    rows = await otp.sql.fetch("SELECT * FROM claim_audit")
    assert [(str(row["challenge_id"]), row["claimant"]) for row in rows] == [(issued.challenge_id, "a")] * 2
    assert set(rows[0].keys()) == {"challenge_id", "id", "claimant", "claimed_at"}


@pytest.mark.row("B2")
async def test_a_claim_needs_the_id_of_the_event(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    request = delivery_pb.ClaimRequest(challenge_id=issued.challenge_id, event_id=str(uuid4()), claimant="a")
    assert await is_void(otp.deliveries.Claim(request, timeout=10))


@pytest.mark.row("M11")
async def test_a_reported_delivery_is_deleted_and_shown_as_sent(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    await otp.claim(issued)
    await otp.report(issued)
    await otp.report(issued)
    assert await otp.deliveries_waiting() == 0
    assert await is_void(otp.claim(issued))
    assert (await otp.state(issued)).sent


@pytest.mark.row("M11")
async def test_a_failed_delivery_is_deleted_and_not_shown_as_sent(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    await otp.report(issued, delivery_pb.DELIVERY_OUTCOME_FAILED)
    assert await otp.deliveries_waiting() == 0
    assert not (await otp.state(issued)).sent


@pytest.mark.row("M11")
async def test_of_two_workers_reports_the_one_that_sent_counts(otp: Any, subject: UUID, flow: UUID) -> None:
    for order in ((1, 2), (2, 1)):
        issued = await otp.issue(uuid4(), flow)
        for outcome in order:
            await otp.report(issued, outcome)
        assert (await otp.state(issued)).sent


async def test_a_report_of_another_event_does_nothing(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    request = delivery_pb.ReportRequest(challenge_id=issued.challenge_id, event_id=str(uuid4()), outcome=1)
    await otp.deliveries.Report(request, timeout=10)
    assert await otp.deliveries_waiting() == 1


@pytest.mark.row("M10")
async def test_what_can_no_longer_be_used_can_no_longer_be_claimed(otp: Any, subject: UUID, flow: UUID) -> None:
    verified = await otp.issue(subject, flow)
    await otp.verify(verified, subject, flow, await otp.code_of(verified))
    assert await is_void(otp.claim(verified))
    await otp.pass_cool_down(subject)
    superseded = await otp.issue(subject, flow)
    await otp.pass_cool_down(subject)
    newest = await otp.issue(subject, flow)
    assert await is_void(otp.claim(superseded))
    assert await otp.deliveries_waiting() == 1
    await otp.age(300, subject)
    assert await is_void(otp.claim(newest))


def issue_by_email(otp: Any, subject: UUID, flow: UUID, email: str) -> Any:
    destination = otp_pb.Destination(email=email, language="en")
    request = otp_pb.IssueRequest(subject_id=str(subject), flow_id=str(flow), purpose=RECOVERY, destination=destination)
    return otp.codes.Issue(request, timeout=10)


@pytest.mark.row("M11")
async def test_a_claim_names_the_address_of_a_code_that_goes_by_email_and_no_phone(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await issue_by_email(otp, subject, flow, "Anna@ПРИМЕР.рф")
    claimed = await otp.claim(issued)
    assert (claimed.email, claimed.phone, claimed.language) == ("Anna@xn--e1afmkfd.xn--p1ai", "", "en")


@pytest.mark.row("B2")
async def test_an_address_is_sealed_while_it_waits_and_gone_when_it_was_sent(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await issue_by_email(otp, subject, flow, "anna@example.com")
    assert b"anna" not in await otp.sql.fetchval("SELECT sealed FROM delivery")
    assert b"anna" not in await otp.sql.fetchval("SELECT string_agg(data, '') FROM event")
    await otp.report(issued)
    assert await otp.deliveries_waiting() == 0


@pytest.mark.parametrize("email", ["", "anna", "anna@example.com\r\nRCPT TO:<boris@example.com>", "анна@example.com"])
async def test_a_code_is_not_issued_for_what_is_no_address(otp: Any, subject: UUID, flow: UUID, email: str) -> None:
    status, reason, _ = await refused(issue_by_email(otp, subject, flow, email))
    assert (status, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST")
    assert await otp.deliveries_waiting() == 0


async def test_what_an_older_process_sealed_for_a_phone_can_be_claimed(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    challenge = UUID(issued.challenge_id)
    older = b'{"destination": {"phone": "+79161234567", "language": "ru"}, "code": "1234", "tag": "7"}'
    await otp.sql.execute("UPDATE delivery SET sealed = $1", otp.seal.close(older, challenge.bytes))
    claimed = await otp.claim(issued)
    assert (claimed.phone, claimed.email, claimed.code) == ("+79161234567", "", "1234")
