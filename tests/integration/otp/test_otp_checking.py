"""Verify: three checks, one success, and only for what the code was issued for."""

import asyncio
from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from zasov.events.v1.otp_event_pb2 import OtpPurpose
from zasov.otp.v1 import otp_service_pb2 as otp_pb

from services.chassis.postgres import connect_directly
from services.otp import sweep
from services.otp.challenges import unseal_secret
from services.otp.codes import CodeKey
from services.otp.domain import evolve
from services.otp.store import Store

RIGHT, WRONG, DEAD = otp_pb.VERIFY_OUTCOME_RIGHT, otp_pb.VERIFY_OUTCOME_WRONG, otp_pb.VERIFY_OUTCOME_DEAD


@pytest.mark.row("M4")
async def test_the_right_code_of_four_digits_is_right_once(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    code = await otp.code_of(issued)
    assert issued.digits == len(code) == 4
    assert (await otp.verify(issued, subject, flow, code)).outcome == RIGHT
    assert (await otp.verify(issued, subject, flow, code)).outcome == DEAD
    assert await otp.event_names(issued) == ["OtpIssued", "OtpVerified"]
    assert (await otp.state(issued)).state == otp_pb.CHALLENGE_STATE_VERIFIED


@pytest.mark.row("M4")
async def test_three_wrong_codes_exhaust_a_challenge(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    code, wrong = await otp.code_of(issued), await otp.wrong_code_of(issued)
    answers = [await otp.verify(issued, subject, flow, wrong) for _ in range(3)]
    assert [(a.outcome, a.tries_left) for a in answers] == [(WRONG, 2), (WRONG, 1), (WRONG, 0)]
    assert (await otp.verify(issued, subject, flow, code)).outcome == DEAD
    assert [f.tries_left for name, f, _ in await otp.events(issued.challenge_id) if name == "OtpFailed"] == [2, 1, 0]
    assert (await otp.state(issued)).state == otp_pb.CHALLENGE_STATE_EXHAUSTED
    assert await otp.deliveries_waiting() == 0


@pytest.mark.row("B4")
async def test_fifty_wrong_codes_at_once_are_checked_three_times(
    otp: Any, subject: UUID, flow: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared, compare = [], CodeKey.is_right

    def counting(*arguments: Any) -> bool:
        compared.append(1)
        return compare(*arguments)

    monkeypatch.setattr(CodeKey, "is_right", counting)
    issued = await otp.issue(subject, flow)
    wrong = await otp.wrong_code_of(issued)
    answers = await asyncio.gather(*(otp.verify(issued, subject, flow, wrong) for _ in range(50)))
    assert Counter(a.outcome for a in answers) == {WRONG: 3, DEAD: 47}
    assert len(compared) == 3
    assert (await otp.event_names(issued)).count("OtpFailed") == 3
    assert await otp.wrong_checks(subject) == 3


@pytest.mark.row("M5")
@pytest.mark.row("M22")
async def test_without_the_grant_there_are_three_checks_too_and_they_take_none_of_the_others(
    otp: Any, subject: UUID, flow: UUID
) -> None:
    issued = await otp.issue(subject, flow)
    code, wrong = await otp.code_of(issued), await otp.wrong_code_of(issued)
    answers = [await otp.verify(issued, subject, flow, wrong, without_grant=True) for _ in range(3)]
    assert [(a.outcome, a.tries_left) for a in answers] == [(WRONG, 2), (WRONG, 1), (WRONG, 0)]
    assert (await otp.verify(issued, subject, flow, code, without_grant=True)).outcome == DEAD
    assert (await otp.state(issued)).state == otp_pb.CHALLENGE_STATE_OPEN
    assert [f.tries_left for name, f, _ in await otp.events(issued.challenge_id) if name == "OtpFailed"] == [3, 3, 3]
    assert await otp.wrong_checks(subject) == 3, "they count for the subject"
    assert await otp.deliveries_waiting() == 1
    answers = [await otp.verify(issued, subject, flow, wrong) for _ in range(2)]
    assert [(a.outcome, a.tries_left) for a in answers] == [(WRONG, 2), (WRONG, 1)]
    assert (await otp.verify(issued, subject, flow, code)).outcome == RIGHT


@pytest.mark.row("M5")
async def test_a_code_without_the_grant_is_bound_and_used_up_like_any_other(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    code = await otp.code_of(issued)
    assert (await otp.verify(issued, subject, uuid4(), code, without_grant=True)).outcome == DEAD
    assert (await otp.verify(issued, subject, flow, code, without_grant=True)).outcome == RIGHT
    for without_grant in (True, False):
        assert (await otp.verify(issued, subject, flow, code, without_grant=without_grant)).outcome == DEAD


@pytest.mark.row("B1")
async def test_of_two_last_checks_without_the_grant_at_once_one_is_made_and_the_other_is_none(
    otp: Any, subject: UUID, flow: UUID
) -> None:
    issued = await otp.issue(subject, flow)
    wrong = await otp.wrong_code_of(issued)
    for _ in range(2):
        await otp.verify(issued, subject, flow, wrong, without_grant=True)
    async with otp.sql.transaction():
        await otp.sql.execute("SELECT FROM subject_budget WHERE subject_id = $1 FOR UPDATE", subject)
        checks = [asyncio.create_task(otp.verify(issued, subject, flow, wrong, without_grant=True)) for _ in range(2)]
        await otp.until_waiting_for_locks(2)
    assert Counter(check.outcome for check in await asyncio.gather(*checks)) == {WRONG: 1, DEAD: 1}
    assert await otp.sql.fetchval("SELECT other_tries FROM challenge") == 3


@pytest.mark.row("B4")
async def test_checks_of_several_codes_at_once_all_count_for_their_subject(otp: Any, subject: UUID) -> None:
    """Each would write back what it has read, and of three wrong checks one would be left."""
    codes = []
    for _ in range(3):
        flow = uuid4()
        issued = await otp.issue(subject, flow)
        codes.append((issued, flow, await otp.wrong_code_of(issued)))
        await otp.pass_cool_down(subject)
    async with otp.sql.transaction():
        await otp.sql.execute("SELECT FROM subject_budget WHERE subject_id = $1 FOR UPDATE", subject)
        checks = [asyncio.create_task(otp.verify(issued, subject, flow, wrong)) for issued, flow, wrong in codes]
        await otp.until_waiting_for_locks(3)
    assert {check.outcome for check in await asyncio.gather(*checks)} == {WRONG}
    assert await otp.wrong_checks(subject) == 3


@pytest.mark.row("M4")
async def test_of_twenty_right_codes_at_once_exactly_one_is_right(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    code = await otp.code_of(issued)
    answers = await asyncio.gather(*(otp.verify(issued, subject, flow, code) for _ in range(20)))
    assert Counter(a.outcome for a in answers) == {RIGHT: 1, DEAD: 19}
    assert await otp.event_names(issued) == ["OtpIssued", "OtpVerified"]
    # A right code is no guess, not even one that came second.
    assert await otp.wrong_checks(subject) == 0


@pytest.mark.row("M4")
async def test_of_three_right_codes_recorded_at_the_same_moment_one_is_right(
    otp: Any, subject: UUID, flow: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await otp.issue(subject, flow)
    code = await otp.code_of(issued)
    all_are_there, calls, append = asyncio.Barrier(3), [], Store.append

    async def append_together(*arguments: Any) -> None:
        calls.append(1)
        if len(calls) <= 3:
            await all_are_there.wait()
        await append(*arguments)

    monkeypatch.setattr(Store, "append", append_together)
    answers = await asyncio.gather(*(otp.verify(issued, subject, flow, code) for _ in range(3)))
    assert Counter(a.outcome for a in answers) == {RIGHT: 1, DEAD: 2}
    assert await otp.event_names(issued) == ["OtpIssued", "OtpVerified"]
    assert await otp.wrong_checks(subject) == 0


@pytest.mark.row("B4")
async def test_a_check_is_committed_before_the_code_is_compared(
    otp: Any, subject: UUID, flow: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await otp.issue(subject, flow)
    wrong = await otp.wrong_code_of(issued)

    def crash(*_: Any) -> bool:
        raise MemoryError

    monkeypatch.setattr(CodeKey, "is_right", crash)
    for _ in range(3):
        with pytest.raises(grpc.aio.AioRpcError):
            await otp.verify(issued, subject, flow, wrong)
    monkeypatch.undo()
    assert (await otp.verify(issued, subject, flow, wrong)).outcome == DEAD
    assert await otp.wrong_checks(subject) == 3
    assert (await otp.state(issued)).state == otp_pb.CHALLENGE_STATE_EXHAUSTED


@pytest.mark.row("B4")
async def test_a_caller_who_hangs_up_is_not_spared_the_outcome(
    otp: Any, subject: UUID, flow: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    issued = await otp.issue(subject, flow)
    wrong = await otp.wrong_code_of(issued)
    reached, go_on, append = asyncio.Event(), asyncio.Event(), Store.append

    async def append_later(*arguments: Any) -> None:
        reached.set()
        await go_on.wait()
        await append(*arguments)

    monkeypatch.setattr(Store, "append", append_later)
    call = asyncio.create_task(otp.verify(issued, subject, flow, wrong))
    await reached.wait()
    call.cancel()
    await asyncio.sleep(0.3)  # the server hears of it
    go_on.set()
    await otp.until("count(*) = 1 FROM event WHERE type = 'OtpFailed'")


@pytest.mark.row("M10")
async def test_a_wrong_code_is_not_checked_against_what_is_dead(otp: Any, subject: UUID, flow: UUID) -> None:
    superseded = await otp.issue(subject, flow)
    wrong = await otp.wrong_code_of(superseded)
    await otp.pass_cool_down(subject)
    verified = await otp.issue(subject, flow)
    await otp.verify(verified, subject, flow, await otp.code_of(verified))
    await otp.pass_cool_down(subject)
    expired = await otp.issue(subject, flow)
    await otp.age(300, subject)
    # The others have time left: it is their state that refuses.
    await otp.sql.execute("UPDATE challenge SET expires_at = expires_at + interval '1 hour' WHERE state <> 'open'")
    for issued in (superseded, verified, expired):
        before = await otp.event_names(issued)
        assert (await otp.verify(issued, subject, flow, wrong)).outcome == DEAD
        assert await otp.event_names(issued) == before
    assert await otp.wrong_checks(subject) == 0


@pytest.mark.row("M4")
async def test_a_code_is_bound_to_its_subject_flow_and_purpose(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    code = await otp.code_of(issued)
    # The others have budgets of their own, so that it is the challenge that refuses them.
    other_flow, other_subject = uuid4(), uuid4()
    await otp.issue(other_subject, flow)
    assert (await otp.verify(issued, other_subject, flow, code)).outcome == DEAD
    assert (await otp.verify(issued, subject, other_flow, code)).outcome == DEAD
    registration = OtpPurpose.OTP_PURPOSE_REGISTRATION
    assert (await otp.verify(issued, subject, flow, code, registration)).outcome == DEAD
    # And none of it has cost a try.
    assert (await otp.state(issued)).tries_left == 3
    assert (await otp.verify(issued, subject, flow, code)).outcome == RIGHT


@pytest.mark.row("M10")
async def test_only_the_newest_code_of_a_flow_works(otp: Any, subject: UUID, flow: UUID) -> None:
    first = await otp.issue(subject, flow)
    code = await otp.code_of(first)
    await otp.pass_cool_down(subject)
    second = await otp.issue(subject, flow)
    assert (await otp.verify(first, subject, flow, code)).outcome == DEAD
    assert await otp.event_names(first) == ["OtpIssued", "OtpSuperseded"]
    assert (await otp.verify(second, subject, flow, await otp.code_of(second))).outcome == RIGHT


@pytest.mark.row("M10")
async def test_a_new_code_leaves_the_code_of_another_flow_alive(otp: Any, subject: UUID, flow: UUID) -> None:
    mine = await otp.issue(subject, flow)
    code = await otp.code_of(mine)
    await otp.pass_cool_down(subject)
    strangers_flow = uuid4()
    await otp.issue(subject, strangers_flow)
    assert (await otp.verify(mine, subject, flow, code)).outcome == RIGHT


@pytest.mark.row("M4")
async def test_an_expired_code_is_dead_before_any_sweep(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    code, wrong = await otp.code_of(issued), await otp.wrong_code_of(issued)
    await otp.age(300, subject)
    assert (await otp.verify(issued, subject, flow, code)).outcome == DEAD
    assert (await otp.verify(issued, subject, flow, wrong)).outcome == DEAD
    assert (await otp.state(issued)).state == otp_pb.CHALLENGE_STATE_EXPIRED
    assert await otp.event_names(issued) == ["OtpIssued"]
    assert await otp.wrong_checks(subject) == 0, "no guess was made"


@pytest.mark.row("M4")
async def test_the_sweep_ends_expired_codes_and_deletes_what_waited_to_be_sent(start: Any, subject: UUID, flow: UUID) -> None:
    otp = await start(sweep_interval_s=0.05)
    alive = await otp.issue(uuid4(), flow)
    issued = await otp.issue(subject, flow)
    await otp.age(300, subject)
    await otp.until("count(*) = 1 FROM delivery")
    assert await otp.event_names(issued) == ["OtpIssued", "OtpExpired"]
    assert await otp.event_names(alive) == ["OtpIssued"]


async def test_one_sweep_works_at_a_time(start: Any, subject: UUID, flow: UUID) -> None:
    otp = await start(sweep_interval_s=0.05)
    mine = "l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    await otp.until(f"count(*) = 1 FROM pg_locks l WHERE locktype = 'advisory' AND granted AND {mine}")
    key = "SELECT pg_try_advisory_lock(hashtext($1))"
    assert not await otp.sql.fetchval(key, sweep._ONLY_ONE)


async def test_a_sweep_takes_a_bounded_batch(otp: Any) -> None:
    for _ in range(5):
        subject = uuid4()
        await otp.issue(subject, uuid4())
        await otp.age(300, subject)
    connection = await connect_directly(otp.settings)
    try:
        assert [await sweep.sweep_once(connection, 2) for _ in range(4)] == [2, 2, 1, 0]
    finally:
        await connection.close()


@pytest.mark.row("M4")
async def test_a_cancelled_code_is_dead_and_a_strangers_cancel_does_nothing(otp: Any, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    code = await otp.code_of(issued)

    async def cancel(by: UUID) -> None:
        await otp.codes.Cancel(otp_pb.CancelRequest(challenge_id=issued.challenge_id, subject_id=str(by)), timeout=10)

    await cancel(uuid4())
    assert (await otp.state(issued)).state == otp_pb.CHALLENGE_STATE_OPEN
    await cancel(subject)
    await cancel(subject)
    assert (await otp.verify(issued, subject, flow, code)).outcome == DEAD
    assert await otp.event_names(issued) == ["OtpIssued", "OtpSuperseded"]


@pytest.mark.row("B5")
async def test_a_challenges_row_is_the_fold_of_its_events(otp: Any, subject: UUID, flow: UUID) -> None:
    exhausted = await otp.issue(subject, flow)
    wrong = await otp.wrong_code_of(exhausted)
    for _ in range(3):
        await otp.verify(exhausted, subject, flow, wrong)
    await otp.pass_cool_down(subject)
    verified = await otp.issue(subject, flow)
    await otp.verify(verified, subject, flow, await otp.code_of(verified))
    decoy = await otp.issue(uuid4(), flow, decoy=True)
    await otp.sql.execute("UPDATE challenge SET issued_at = e.occurred_at, expires_at = e.occurred_at + interval '300 s'"
                          " FROM event e WHERE e.stream_id = id AND e.version = 1")  # fmt: skip
    for issued in (exhausted, verified, decoy):
        challenge = None
        for _, fact, event in await otp.events(issued.challenge_id):
            secret = unseal_secret(otp.seal, event["stream_id"], event["secret"]) if event["secret"] else None
            challenge = evolve(challenge, fact, event["occurred_at"], secret)
        row = dict(await otp.sql.fetchrow("SELECT * FROM challenge WHERE id = $1", UUID(issued.challenge_id)))
        assert challenge is not None
        assert row.pop("version") == event["version"]
        del row["id"], row["tries"], row["other_tries"]
        assert row == {name: getattr(challenge, name) for name in row}
        assert len(row) == len(challenge.__slots__)


@pytest.mark.parametrize("code", ["", "123", "12345", "1234567", "123456789", "12a4", "１２３４", "1234\n"])
async def test_a_malformed_code_is_refused_and_costs_no_try(otp: Any, subject: UUID, flow: UUID, code: str) -> None:
    issued = await otp.issue(subject, flow)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await otp.verify(issued, subject, flow, code)
    assert _violations(caught.value) == ["code"]
    assert (await otp.state(issued)).tries_left == 3


async def test_every_bad_field_of_a_request_is_named(otp: Any) -> None:
    request = otp_pb.IssueRequest(
        subject_id="{", flow_id="", destination={"phone": "89161234567", "language": "de"}, origin={"ip_pseudonym": "10.0.0.1"}
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await otp.codes.Issue(request, timeout=10)
    assert sorted(_violations(caught.value)) == [
        "destination.language", "destination.phone", "flow_id", "origin.ip_pseudonym", "purpose", "subject_id",
    ]  # fmt: skip


async def test_the_state_of_an_unknown_challenge_is_not_found(otp: Any) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await otp.codes.GetState(otp_pb.GetStateRequest(challenge_id=str(uuid4())), timeout=10)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


def _violations(error: grpc.aio.AioRpcError) -> list[str]:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    status, bad = rpc_status.from_call(error), error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return [violation.field for violation in bad.field_violations]
