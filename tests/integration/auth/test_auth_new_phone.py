"""A number that is not on file, named at an office (M18): two members of staff, a delay, and an owner who can stop it."""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from zasov.events.v1.auth_event_pb2 import ContactChangeCancelled, ContactChanged, EmailWarned, SessionEnded

from services.auth.identifiers import LookupKey
from services.auth.office.store import PendingChanges
from services.auth.rebuild import rebuild
from services.auth.settings import AuthSettings
from services.chassis.postgres import open_database
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.emails import EMAIL, claimed_notice, event_of, put_on_file
from tests.integration.auth.office import FIRST, NEW_PHONE, SECOND, OfficeCalls, office_of
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PHONE, Suite, refusal, refusal_of
from tests.integration.waiting import until

pytestmark = pytest.mark.row("M18")

THIRD = "staff-sidorova-4"


@pytest.fixture
async def office(start: StartSuite, keys_dir: Path) -> OfficeCalls:
    return await office_of(start, keys_dir)


@pytest.fixture
def suite(office: OfficeCalls) -> Suite:
    return office.suite


async def reason(call: Any) -> str:
    return (await refusal(call)).reason


async def test_after_an_approval_and_its_time_the_new_number_is_on_file_and_gets_a_password(
    office: OfficeCalls, suite: Suite
) -> None:
    session = await suite.register()
    account = UUID(session.account_id)
    await suite.sql.execute("DELETE FROM flow")
    change = await office.ask_for_phone()
    approved = await office.approve(change)
    assert approved.carried_out_from.seconds > 0
    assert await suite.auth.is_active(session.token), "nothing has changed yet"
    assert await office.owner_of(NEW_PHONE) is None
    await office.time_passes(change)
    await office.until_over(change)
    assert await office.owner_of(NEW_PHONE) == account
    assert await office.owner_of(PHONE) is None
    assert not await suite.auth.is_active(session.token), "whoever was in is out"
    (changed,), (ended,) = await office.payloads("ContactChanged"), await office.payloads("SessionEnded")
    assert await office.told("ContactReplaced") == 1, "the old number, once more"
    assert (list(changed.changed), changed.via) == ([ContactChanged.PART_PHONE], ContactChanged.VIA_OFFICE)
    assert (ended.all, ended.reason) == (True, SessionEnded.REASON_OFFICE)

    async def invited() -> bool:
        return bool(await suite.sql.fetchval("SELECT count(*) FROM flow"))

    await until("a one-time password is sent there", invited)
    grant = await suite.auth.use_temporary(await suite.newest_password(), NEW_PHONE)
    await suite.auth.choose_permanent(grant)
    assert (await suite.auth.sign_in(NEW_PHONE, NEW_PASSWORD)).account_id == session.account_id
    assert await reason(suite.auth.sign_in(PHONE, NEW_PASSWORD)) == "CREDENTIALS_REJECTED"


async def test_the_old_contact_is_told_before_anything_changes(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    await office.ask_for_phone()
    assert await office.told("ContactChangeRequested") == 1
    assert await office.owner_of(PHONE) is not None


@pytest.mark.row("M20")
async def test_the_email_on_file_is_told_beside_the_phone_when_it_is_asked_for_and_when_it_is_done(
    office: OfficeCalls, suite: Suite
) -> None:
    session = await suite.register()
    await put_on_file(suite, session)

    async def told(kind: str) -> tuple[str, str]:
        claimed = await claimed_notice(suite, session.account_id, await event_of(suite, kind))
        return claimed.phone, claimed.email

    change = await office.ask_for_phone()
    assert await told("ContactChangeRequested") == (PHONE, "")
    assert await told("EmailWarned") == ("", EMAIL)
    await office.approve(change)
    await office.time_passes(change)
    await office.until_over(change)
    assert await told("ContactReplaced") == (PHONE, "")
    assert await told("ContactChanged") == (NEW_PHONE, "")
    assert await told("EmailWarned") == ("", EMAIL)
    assert [one.about for one in await office.payloads("EmailWarned")] == [EmailWarned.ABOUT_REQUEST, EmailWarned.ABOUT_CHANGE]


async def test_who_asked_cannot_approve_and_somebody_else_can_once(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    change = await office.ask_for_phone(FIRST)
    refused = await refusal(office.approve(change, FIRST))
    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "SECOND_APPROVER_REQUIRED")
    answers = await asyncio.gather(office.approve(change, SECOND), office.approve(change, THIRD), return_exceptions=True)
    assert [refusal_of(one).reason for one in answers if isinstance(one, BaseException)] == ["CONTACT_CHANGE_VOID"]
    (asked,), (approved,) = await office.payloads("RecoveryStartedAtOffice"), await office.payloads("ContactChangeApproved")
    assert asked.by.staff_pseudonym != approved.by.staff_pseudonym


async def test_an_approval_is_staff_s_like_any_call(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    change = await office.ask_for_phone()
    centre = office.staff.assertion(SECOND, "office", "call_centre")
    assert await reason(office.approve(change, staff_assertion=centre)) == "STAFF_NOT_ALLOWED"
    assert (await refusal(office.approve(change, document_checked=False))).code == "INVALID_ARGUMENT"
    unknown = "00000000-0000-0000-0000-000000000000"
    assert await reason(office.approve(unknown)) == "CONTACT_CHANGE_VOID"


async def test_before_its_time_and_without_an_approval_nothing_is_carried_out(office: OfficeCalls, suite: Suite) -> None:
    for phone in (PHONE, OTHER_PHONE, "+79161234561"):
        await suite.register(phone)
    approved, waiting = await office.ask_for_phone(), await office.ask_for_phone(new="+79161234598", phone=OTHER_PHONE)
    await office.approve(approved)
    unapproved = await office.ask_for_phone(new="+79161234597", phone="+79161234561")
    await office.time_passes(unapproved)
    await office.until_over(unapproved)
    assert [one.reason for one in await office.payloads("ContactChangeCancelled")] == [ContactChangeCancelled.REASON_LAPSED]
    assert not await office.payloads("ContactChanged")
    left = {str(row["change_id"]) for row in await suite.sql.fetch("SELECT change_id FROM contact_change")}
    assert left == {approved, waiting}


async def test_a_lapsed_one_can_be_approved_no_more(office: OfficeCalls, suite: Suite) -> None:
    slow = await suite.start_auth(office_look_s=3600, office_approval_s=1)
    await suite.register()
    office.auth = slow
    change = await office.ask_for_phone()
    await office.until_over(change)  # by the other replica
    assert await reason(office.approve(change)) == "CONTACT_CHANGE_VOID"


@pytest.mark.parametrize("approved", [False, True])
async def test_a_new_password_stops_it(office: OfficeCalls, suite: Suite, approved: bool) -> None:
    session = await suite.register()
    change = await office.ask_for_phone()
    if approved:
        await office.approve(change)
    await suite.auth.change(session.token)
    assert await reason(office.approve(change, THIRD)) == "CONTACT_CHANGE_VOID"
    await office.until_over(change)
    (cancelled,) = await office.payloads("ContactChangeCancelled")
    assert (cancelled.change_id, cancelled.reason) == (change, ContactChangeCancelled.REASON_NEW_PASSWORD)
    assert await office.owner_of(NEW_PHONE) is None
    assert not await office.payloads("ContactChanged")


async def test_a_new_password_at_the_last_moment_wins_over_one_that_is_due(
    office: OfficeCalls, suite: Suite, urls: dict[str, str]
) -> None:
    """Else a look that decided before the password was set would put the number on file all the same."""
    session = await suite.register()
    change = await office.ask_for_phone()
    await office.approve(change)
    holder = await asyncpg.connect(urls["auth"])
    try:
        async with holder.transaction():
            await holder.execute("SELECT FROM account WHERE account_id = $1 FOR UPDATE", UUID(session.account_id))
            changing = asyncio.create_task(suite.auth.change(session.token))
            await suite.until_waiting_for_locks(1)
            await office.time_passes(change)
            await suite.until_waiting_for_locks(2)
    finally:
        await holder.close()
    await changing
    await office.until_over(change)
    assert not await office.payloads("ContactChanged")
    (cancelled,) = await office.payloads("ContactChangeCancelled")
    assert cancelled.reason == ContactChangeCancelled.REASON_NEW_PASSWORD


async def test_the_owner_stops_it_in_a_session(office: OfficeCalls, suite: Suite) -> None:
    session = await suite.register()
    change = await office.ask_for_phone()
    await office.approve(change)
    assert await reason(office.cancel("nobody's")) == "SESSION_INVALID"
    await office.cancel(session.token)
    assert await reason(office.cancel(session.token)) == "CONTACT_CHANGE_VOID"
    (cancelled,) = await office.payloads("ContactChangeCancelled")
    assert cancelled.reason == ContactChangeCancelled.REASON_SUBSCRIBER
    assert await suite.sql.fetchval("SELECT count(*) FROM contact_change") == 0


async def test_another_number_takes_the_place_of_one_that_waits_and_needs_its_own_approval(
    office: OfficeCalls, suite: Suite
) -> None:
    await suite.register()
    first = await office.ask_for_phone()
    await office.approve(first)
    second = await office.ask_for_phone(SECOND, "+79161234598")
    assert await reason(office.approve(first, THIRD)) == "CONTACT_CHANGE_VOID"
    assert await reason(office.approve(second, SECOND)) == "SECOND_APPROVER_REQUIRED"
    await office.approve(second, FIRST)
    (cancelled,) = await office.payloads("ContactChangeCancelled")
    assert (cancelled.change_id, cancelled.reason) == (first, ContactChangeCancelled.REASON_SUPERSEDED)


async def test_one_number_is_put_on_file_for_one_account(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    await suite.register(OTHER_PHONE)
    assert await reason(office.ask_for_phone(new=OTHER_PHONE)) == "NUMBER_TAKEN"
    assert await reason(office.ask_for_phone(new=PHONE)) == "NUMBER_TAKEN"
    await office.ask_for_phone()
    await office.ask_for_phone()
    assert await reason(office.ask_for_phone(phone=OTHER_PHONE)) == "NEW_PHONE_USED"
    await suite.sql.execute("UPDATE office_phone SET until = now()")
    await office.ask_for_phone(phone=OTHER_PHONE)


async def test_a_number_that_was_registered_meanwhile_is_left_to_whoever_has_it(office: OfficeCalls, suite: Suite) -> None:
    mine = await suite.register()
    change = await office.ask_for_phone()
    await office.approve(change)
    theirs = await suite.register(NEW_PHONE)
    await office.time_passes(change)
    await office.until_over(change)
    (cancelled,) = await office.payloads("ContactChangeCancelled")
    assert cancelled.reason == ContactChangeCancelled.REASON_NUMBER_TAKEN
    assert await office.owner_of(NEW_PHONE) == UUID(theirs.account_id)
    assert await office.owner_of(PHONE) == UUID(mine.account_id)


async def test_several_servers_carry_it_out_once(office: OfficeCalls, suite: Suite) -> None:
    await suite.register()
    change = await office.ask_for_phone()
    await office.approve(change)
    for _ in range(3):
        await suite.start_auth(office_look_s=0.01)
    await office.time_passes(change)
    await office.until_over(change)
    assert len(await office.payloads("ContactChanged")) == 1


async def test_what_a_crash_left_undone_is_done_at_the_next_look(office: OfficeCalls, suite: Suite) -> None:
    """The server died between the event and the identifiers."""
    session = await suite.register()
    await suite.sql.execute(
        "CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'crash' USING ERRCODE = '57P01';"
        " END $$; CREATE TRIGGER crash BEFORE UPDATE OF reserved_until ON identifier FOR EACH ROW EXECUTE FUNCTION crash()"
    )
    change = await office.ask_for_phone()
    await office.approve(change)
    await office.time_passes(change)

    async def left() -> bool:
        return bool(await suite.sql.fetchval("SELECT count(*) FROM identifier_move"))

    await until("the event is stored", left)
    assert await office.owner_of(NEW_PHONE) is None
    await suite.sql.execute("DROP TRIGGER crash ON identifier")
    await office.until_over(change)
    assert await office.owner_of(NEW_PHONE) == UUID(session.account_id)
    assert await office.owner_of(PHONE) is None


async def test_who_re_points_a_number_that_another_server_is_at_leaves_a_newer_one_alone(
    urls: dict[str, str], keys_dir: Path
) -> None:
    account_id, other = uuid4(), await asyncpg.connect(urls["auth"])
    add = "INSERT INTO identifier_move (account_id, new_lookup, old_lookup) VALUES ($1, $2, $3)"
    await other.execute(add, account_id, b"second", b"first")
    await other.execute("INSERT INTO identifier (lookup, account_id) VALUES ($1, $2)", b"first", account_id)
    async with open_database(AuthSettings(postgres_url=urls["auth"], keys_dir=keys_dir)) as database:
        changes = PendingChanges(database, LookupKey(bytes(32)), timedelta(days=1))
        async with other.transaction():
            # It ends that one; and by a newer change the first number is the account's again.
            await other.execute("DELETE FROM identifier_move")
            await other.execute(add, account_id, b"first", b"second")
            moving = asyncio.ensure_future(changes.move_identifiers(account_id))

            async def waits() -> bool:
                sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
                return bool(await other.fetchval(sql))

            await until("the one waits for the other", waits)
        await moving
    assert await other.fetchval("SELECT new_lookup FROM identifier_move") == b"first"
    assert await other.fetchval("SELECT lookup FROM identifier") == b"first"
    await other.close()


@pytest.mark.row("B5")
async def test_a_change_that_waits_survives_a_rebuild(office: OfficeCalls, suite: Suite, urls: dict[str, str]) -> None:
    await suite.register()
    change = await office.ask_for_phone()
    await office.approve(change)
    before = await suite.sql.fetchrow("SELECT * FROM contact_change")
    await suite.sql.execute("DELETE FROM contact_change")
    settings = AuthSettings(postgres_url=urls["auth"], keys_dir=suite.keys_dir)
    assert (await rebuild(settings, replace=True)).replaced
    assert await suite.sql.fetchrow("SELECT * FROM contact_change") == before
