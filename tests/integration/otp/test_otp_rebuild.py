"""Otp's table doctored, lost and made again from its events (mission row B5)."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from zasov.otp.v1 import otp_service_pb2 as otp_pb

from services.chassis import rebuild as chassis
from services.chassis.rebuild import Report
from services.chassis.sealing import Seal
from services.otp.rebuild import projection, rebuild
from tests.integration.otp.conftest import Otp
from tests.integration.rebuilding import assert_found_and_mended

pytestmark = pytest.mark.row("B5")

# Of a challenge that was put right no check is left: `tries` is a lease.
COLUMNS = (
    "id, version, subject_id, flow_id, purpose, digits, max_tries, is_decoy, code_mac, issued_at, expires_at, state, failures"
)
CHANGES = {
    "challenge": [
        "UPDATE challenge SET state = 'open' WHERE state = 'verified'",
        "UPDATE challenge SET state = 'verified' WHERE state = 'open' AND NOT is_decoy",
        "UPDATE challenge SET failures = 0 WHERE failures = 1",
        "UPDATE challenge SET version = version + 1",
        "UPDATE challenge SET code_mac = code_mac || '\\x00'",
        "UPDATE challenge SET max_tries = 9",
        "UPDATE challenge SET is_decoy = NOT is_decoy",
        "UPDATE challenge SET subject_id = gen_random_uuid()",
        "UPDATE challenge SET expires_at = expires_at + interval '1 microsecond'",
        "UPDATE challenge SET issued_at = issued_at - interval '1 microsecond'",
        "UPDATE challenge SET digits = 8",
        "DELETE FROM challenge",
    ],
}
BRAKE_CHANGES = {"brake": ["UPDATE brake SET version = version + 1", "DELETE FROM brake"]}


async def live(otp: Otp) -> None:
    """A code that was right, one with a failure, one that was used up, one superseded, one refused, and a decoy."""
    subject, flow = uuid4(), uuid4()
    used = await otp.issue(subject, flow)
    await otp.verify(used, subject, flow, await otp.code_of(used))
    for wrong in (1, 3):
        subject, flow = uuid4(), uuid4()
        issued = await otp.issue(subject, flow)
        code = await otp.wrong_code_of(issued)
        for _ in range(wrong):
            await otp.verify(issued, subject, flow, code)
    subject, flow = uuid4(), uuid4()
    await otp.issue(subject, flow)
    with pytest.raises(Exception, match="a moment ago"):
        await otp.issue(subject, flow)
    await otp.sql.execute("UPDATE subject_budget SET issued_at = '{}', issued_for = '{}'")
    await otp.issue(subject, flow)
    await otp.issue(uuid4(), uuid4(), decoy=True)
    await otp.sql.execute("SELECT count_spray(2::smallint, $1, clock_timestamp(), interval '10 minutes', 5000)", subject)
    await otp.issue(uuid4(), uuid4())


async def test_what_was_changed_or_lost_by_hand_is_found_and_put_right(otp: Otp) -> None:
    await live(otp)
    kinds = {row["type"] for row in await otp.sql.fetch("SELECT type FROM event")}
    assert kinds == {"OtpIssued", "OtpVerified", "OtpFailed", "OtpSuperseded", "OtpRefused", "DecoyIssued", "CodesLengthened"}

    async def run(replace: bool) -> Report:
        return await rebuild(otp.settings, replace=replace)

    await assert_found_and_mended(run, otp.sql, CHANGES, COLUMNS)
    await assert_found_and_mended(run, otp.sql, BRAKE_CHANGES)


async def test_checks_that_were_begun_are_no_difference_and_are_kept(otp: Otp, subject: UUID, flow: UUID) -> None:
    issued = await otp.issue(subject, flow)
    await otp.sql.execute("UPDATE challenge SET tries = 2, other_tries = 1")
    assert (await rebuild(otp.settings)).is_equal
    await otp.sql.execute("UPDATE challenge SET failures = 1")
    await rebuild(otp.settings, replace=True)
    assert await otp.sql.fetchval("SELECT (tries, other_tries) FROM challenge") == (2, 1)
    right = await otp.verify(issued, subject, flow, await otp.code_of(issued))
    assert right.tries_left == 0


async def test_a_code_whose_row_was_lost_can_not_be_guessed_at_anew(otp: Otp, subject: UUID, flow: UUID) -> None:
    """How many checks had been begun is not known any more."""
    issued = await otp.issue(subject, flow)
    code = await otp.code_of(issued)
    await otp.sql.execute("DELETE FROM challenge")
    await rebuild(otp.settings, replace=True)
    assert (await otp.state(issued)).tries_left == 0
    for without_grant in (False, True):
        refused: Any = await otp.verify(issued, subject, flow, code, without_grant=without_grant)
        assert refused.outcome == otp_pb.VERIFY_OUTCOME_DEAD


async def test_with_another_key_nothing_is_folded_and_nothing_replaced(otp: Otp, subject: UUID, flow: UUID) -> None:
    await otp.issue(subject, flow)
    report = await chassis.rebuild(otp.settings, projection(Seal(b"\x00" * 32)), replace=True)
    assert (report.history_is_sound, report.replaced) == (False, False)
    assert (await rebuild(otp.settings)).is_equal
