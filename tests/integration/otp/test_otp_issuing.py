"""Issue: cool-down, the budget of a subject, decoys, and what may be known from outside."""

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from zasov.events.v1.meta_pb2 import Origin
from zasov.events.v1.otp_event_pb2 import OtpEvent, OtpPurpose, OtpRefused
from zasov.otp.v1 import delivery_service_pb2 as delivery_pb
from zasov.otp.v1 import otp_service_pb2 as otp_pb

from services.otp import codes
from tests.integration.databases import looks_into

PHONE = "+79161234567"
TABLES = ("event", "outbox", "challenge", "delivery", "subject_budget")
ORIGIN = Origin(key_id="2025-01", ip_pseudonym="0a" * 16, subnet_pseudonym="0b" * 16)


async def refused(call: Any) -> tuple[str, int]:
    """The reason, and the seconds after which to try again."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    details = rpc_status.from_call(caught.value).details
    assert any(detail.Unpack(info) for detail in details)
    assert any(detail.Unpack(retry) for detail in details)
    assert info.metadata["retry_in_s"] == str(retry.retry_delay.seconds)
    return info.reason, retry.retry_delay.seconds


@pytest.mark.row("M10")
async def test_a_second_code_within_the_cool_down_is_refused_with_a_time(otp: Any, subject: UUID, flow: UUID) -> None:
    first = await otp.issue(subject, flow)
    assert first.ask_again_at.seconds - first.expires_at.seconds == 30 - 300
    await otp.age(10, subject)
    reason, seconds = await refused(otp.issue(subject, uuid4()))
    assert reason == "COOL_DOWN"
    assert 15 <= seconds <= 20
    await otp.age(20, subject)
    await otp.issue(subject, uuid4())


@pytest.mark.row("M10")
async def test_each_purpose_and_each_subject_has_a_cool_down_of_its_own(otp: Any, subject: UUID, flow: UUID) -> None:
    await otp.issue(subject, flow)
    await otp.issue(subject, uuid4(), OtpPurpose.OTP_PURPOSE_REGISTRATION)
    await otp.issue(uuid4(), uuid4())


@pytest.mark.row("M10")
@pytest.mark.parametrize("is_new", [True, False])
async def test_of_several_requests_at_once_one_gets_a_code(otp: Any, subject: UUID, is_new: bool) -> None:
    if not is_new:
        await otp.issue(subject, uuid4())
        await otp.pass_cool_down(subject)
    async with otp.sql.transaction():
        # Holds them all back until all are there.
        await otp.sql.execute("INSERT INTO subject_budget (subject_id) VALUES ($1) ON CONFLICT DO NOTHING", subject)
        await otp.sql.execute("UPDATE subject_budget SET wrong_at = '{}' WHERE subject_id = $1", subject)
        calls = [asyncio.create_task(otp.issue(subject, uuid4())) for _ in range(5)]
        await otp.until_waiting_for_locks(5)
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(not isinstance(answer, Exception) for answer in answers) == 1


@pytest.mark.row("M10")
async def test_no_flow_ever_has_two_open_codes(otp: Any, subject: UUID, flow: UUID) -> None:
    """Whatever the code does: each would have tries of its own."""
    await otp.issue(subject, flow)
    row = dict(await otp.sql.fetchrow("SELECT * FROM challenge")) | {"id": uuid4()}
    places = ", ".join(f"${n}" for n in range(1, len(row) + 1))
    with pytest.raises(asyncpg.UniqueViolationError):
        await otp.sql.execute(f"INSERT INTO challenge ({', '.join(row)}) VALUES ({places})", *row.values())


@pytest.mark.row("M10")
async def test_a_refusal_is_an_event_and_takes_nothing_back(otp: Any, subject: UUID, flow: UUID) -> None:
    await otp.spend(subject, 2)
    live = await otp.issue(subject, flow)
    await refused(otp.issue(subject, flow, origin=ORIGIN))
    await refused(otp.issue(subject, flow, origin=ORIGIN))
    rows = await otp.sql.fetch("SELECT * FROM event WHERE type = 'OtpRefused'")
    assert len({row["stream_id"] for row in rows}) == 2  # each on a stream of its own
    event = OtpEvent.FromString(rows[0]["data"])
    assert event.otp_refused.reason == OtpRefused.REASON_COOL_DOWN
    assert event.meta.origin == ORIGIN
    assert await otp.wrong_checks(subject) == 2
    assert (await otp.state(live)).state == otp_pb.CHALLENGE_STATE_OPEN


@pytest.mark.row("B4")
async def test_a_code_grows_with_the_wrong_checks_of_its_subject_and_at_last_is_refused(otp: Any, subject: UUID) -> None:
    lengths = []
    for _ in range(5):
        flow = uuid4()
        issued = await otp.issue(subject, flow)
        lengths.append(issued.digits)
        assert len(await otp.code_of(issued)) == issued.digits
        wrong = await otp.wrong_code_of(issued)
        for _ in range(3):
            await otp.verify(issued, subject, flow, wrong)
        await otp.pass_cool_down(subject)
    assert lengths == [4, 6, 6, 8, 8]
    reason, seconds = await refused(otp.issue(subject, uuid4()))
    assert reason == "CODE_BUDGET_SPENT"
    assert 86_000 < seconds <= 86_400
    await otp.age(86_400, subject)
    assert (await otp.issue(subject, uuid4())).digits == 4


@pytest.mark.row("B4")
async def test_the_budget_survives_a_resend_and_a_success(otp: Any, subject: UUID, flow: UUID) -> None:
    first = await otp.issue(subject, flow)
    wrong = await otp.wrong_code_of(first)
    for _ in range(2):
        await otp.verify(first, subject, flow, wrong)
    await otp.pass_cool_down(subject)
    second = await otp.issue(subject, flow)
    assert second.digits == 4
    await otp.verify(second, subject, flow, await otp.wrong_code_of(second))
    await otp.verify(second, subject, flow, await otp.code_of(second))
    await otp.pass_cool_down(subject)
    assert (await otp.issue(subject, flow)).digits == 6
    assert await otp.wrong_checks(subject) == 3


@pytest.mark.row("B4")
async def test_short_codes_opened_beforehand_gain_no_further_guesses(start: Any, subject: UUID) -> None:
    otp = await start(cool_down_s=0)
    opened = []
    for _ in range(8):
        flow = uuid4()
        issued = await otp.issue(subject, flow)
        assert issued.digits == 4
        opened.append((issued, flow, await otp.wrong_code_of(issued)))
    outcomes = [(await otp.verify(issued, subject, flow, wrong)).outcome for issued, flow, wrong in opened * 3]
    assert outcomes.count(otp_pb.VERIFY_OUTCOME_WRONG) == 9


@pytest.mark.row("B4")
async def test_a_subject_gets_no_more_than_its_codes_a_day(start: Any, subject: UUID) -> None:
    otp = await start(issues_per_day=3, cool_down_s=0)
    for _ in range(3):
        await otp.issue(subject, uuid4())
    reason, seconds = await refused(otp.issue(subject, uuid4()))
    assert reason == "CODE_BUDGET_SPENT"
    assert seconds > 86_000
    await otp.issue(uuid4(), uuid4())


@pytest.mark.row("B2")
async def test_no_event_holds_code_phone_subject_or_flow(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow, origin=ORIGIN)
    code, wrong = await otp.code_of(issued), await otp.wrong_code_of(issued)
    await otp.verify(issued, subject, flow, wrong)
    await otp.verify(issued, subject, flow, code)
    await refused(otp.issue(subject, flow))
    secrets = [text.encode() for value in (subject, flow) for text in (str(value), value.hex)]
    secrets += [subject.bytes, flow.bytes, PHONE.encode(), PHONE[1:].encode()]
    rows = await otp.sql.fetch("SELECT * FROM event")
    assert len(rows) == 4
    for row in rows:
        published = row["data"] + row["stream_id"].bytes
        assert not any(secret in published + (row["secret"] or b"") for secret in secrets)
        # Four digits may stand in an id by chance: what is no id is looked through for the code.
        event = OtpEvent.FromString(row["data"])
        event.meta.ClearField("event_id")
        event.meta.ClearField("stream_id")
        event.meta.ClearField("occurred_at")
        assert code.encode() not in event.SerializeToString()
    delivery_and_challenge = await otp.sql.fetch("SELECT code_mac FROM challenge")
    assert all(len(row["code_mac"]) == codes.MAC_BYTES for row in delivery_and_challenge)


@pytest.mark.row("B2")
async def test_what_waits_for_delivery_is_sealed(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    sealed = await otp.sql.fetchval("SELECT sealed FROM delivery")
    assert PHONE.encode() not in sealed
    assert b"phone" not in sealed
    assert (await otp.claim(issued)).phone == PHONE


@pytest.mark.row("B2")
async def test_nothing_is_logged_of_code_or_phone(
    otp: Any, subject: UUID, flow: UUID, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await otp.issue(subject, flow)
    code = await otp.code_of(issued)

    def fail(*arguments: Any) -> bool:
        raise RuntimeError(f"{arguments}")

    monkeypatch.setattr(codes.CodeKey, "is_right", fail)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await otp.verify(issued, subject, flow, code)
    assert code not in f"{caught.value.details()}"
    output = "".join(capfd.readouterr())
    assert "unexpected error" in output
    assert f"'{code}'" not in output
    assert PHONE not in output


@pytest.mark.row("B2")
async def test_a_decoy_answers_as_a_known_subject_does(otp: Any, flow: UUID) -> None:
    real_subject, decoy_subject = uuid4(), uuid4()
    real, decoy = await otp.issue(real_subject, flow), await otp.issue(decoy_subject, flow, decoy=True)
    assert (real.digits, len(real.tag)) == (decoy.digits, len(decoy.tag))
    assert [field.name for field, _ in real.ListFields()] == [field.name for field, _ in decoy.ListFields()]
    assert await refused(otp.issue(decoy_subject, flow, decoy=True)) == await refused(otp.issue(real_subject, flow))
    wrong = await otp.wrong_code_of(real)
    for _ in range(4):
        answers = [
            await otp.verify(real, real_subject, flow, wrong),
            await otp.verify(decoy, decoy_subject, flow, wrong),
        ]
        assert answers[0] == answers[1]
    states = [await otp.state(real), await otp.state(decoy)]
    assert (states[0].state, states[0].tries_left) == (states[1].state, states[1].tries_left)
    sizes = await otp.sql.fetch("SELECT version, failures, tries, octet_length(code_mac) FROM challenge")
    assert sizes[0] == sizes[1]


@pytest.mark.row("B2")
async def test_a_decoys_row_for_delivery_is_as_long_as_a_real_one(otp: Any, flow: UUID) -> None:
    await otp.issue(uuid4(), flow)
    await otp.issue(uuid4(), flow, decoy=True)
    assert await otp.sql.fetchval("SELECT count(DISTINCT octet_length(sealed)) FROM delivery") == 1


@pytest.mark.row("B2")
async def test_a_decoy_is_never_right_and_of_it_nothing_but_its_origin_is_published(
    otp: Any, subject: UUID, flow: UUID
) -> None:
    decoy = await otp.issue(subject, flow, decoy=True)
    sealed = await otp.sql.fetchval("SELECT sealed FROM delivery")
    parcel_code = json.loads(otp.seal.open(sealed, UUID(decoy.challenge_id).bytes))["code"]
    assert (await otp.verify(decoy, subject, flow, parcel_code)).outcome == otp_pb.VERIFY_OUTCOME_WRONG
    await refused(otp.issue(subject, flow, decoy=True))
    await otp.pass_cool_down(subject)
    await otp.issue(subject, flow, decoy=True)
    assert await otp.event_names(decoy) == ["DecoyIssued", "OtpFailed", "OtpSuperseded"]
    published = await otp.sql.fetch("SELECT type, stream_id, data FROM event WHERE is_public")
    assert [row["type"] for row in published] == ["DecoyIssued"] * 2
    ours = {subject, flow}
    assert not [row for row in published if row["stream_id"] in ours or any(str(one).encode() in row["data"] for one in ours)]


@pytest.mark.row("B2")
async def test_a_decoy_leaves_as_many_rows_as_a_code(otp: Any) -> None:
    """Each takes time to write: from the first request over a wrong code and a refusal to the next request."""
    left = []
    for is_decoy in (False, True):
        subject, flow = uuid4(), uuid4()
        issued = await otp.issue(subject, flow, decoy=is_decoy)
        await otp.verify(issued, subject, flow, "00000000")
        await refused(otp.issue(subject, flow, decoy=is_decoy))
        await otp.pass_cool_down(subject)
        await otp.issue(subject, flow, decoy=is_decoy)
        left.append([await otp.sql.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES])
        await otp.sql.execute(f"TRUNCATE {', '.join(TABLES)}")
    assert left[0] == left[1]


async def test_a_subject_met_for_the_first_time_is_locked_by_the_same_work(otp: Any, subject: UUID) -> None:
    first, again = [await looks_into("subject_budget", otp.sql, "SELECT lock_budget($1)", subject) for _ in range(2)]
    assert first == again


@pytest.mark.row("B2")
async def test_a_decoy_cannot_be_claimed(otp: Any, subject: UUID, flow: UUID) -> None:
    decoy = await otp.issue(subject, flow, decoy=True)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await otp.claim(decoy)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.row("B2")
async def test_a_decoy_is_shown_as_sent_after_a_moment(otp: Any, subject: UUID, flow: UUID) -> None:
    decoy = await otp.issue(subject, flow, decoy=True)
    assert not (await otp.state(decoy)).sent
    await otp.age(2, subject)
    assert (await otp.state(decoy)).sent


@pytest.mark.row("B7")
async def test_every_public_event_waits_in_the_outbox(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    await otp.verify(issued, subject, flow, await otp.code_of(issued))
    names = "SELECT array_agg(type ORDER BY o.id) FROM outbox o JOIN event USING (stream_id, version)"
    assert await otp.sql.fetchval(names) == ["OtpIssued", "OtpVerified"]


async def test_a_request_without_a_known_outcome_is_refused(otp: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await otp.deliveries.Report(delivery_pb.ReportRequest(challenge_id=str(uuid4()), event_id=str(uuid4())), timeout=10)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
