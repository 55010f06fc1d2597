"""An email on file (M11): the password and a code to the new address put it there, and the old contact is told."""

import asyncio

import grpc
import pytest
from zasov.auth.v1 import delivery_service_pb2 as delivery_pb
from zasov.auth.v1.common_pb2 import CONTACT_CHANNEL_EMAIL
from zasov.events.v1.auth_event_pb2 import AuthEvent, ContactChanged

from tests.integration.auth.emails import (
    EMAIL,
    OTHER_EMAIL,
    claimed_notice,
    confirm_change,
    event_of,
    goes_to,
    put_on_file,
    set_language,
    start_change,
    start_recovery,
)
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PASSWORD, PHONE, Suite, refusal


@pytest.mark.row("M11")
async def test_the_password_and_a_code_to_the_new_address_put_it_on_file(suite: Suite) -> None:
    session = await suite.register()
    sent = await start_change(suite, session.token)
    assert await goes_to(suite, sent.grant) == EMAIL
    assert await goes_to(suite, (await start_recovery(suite, CONTACT_CHANNEL_EMAIL)).grant) == "", "it is not on file yet"
    await confirm_change(suite, session.token, sent.grant, await suite.code_of(sent.grant))
    assert await goes_to(suite, (await start_recovery(suite, CONTACT_CHANNEL_EMAIL)).grant) == EMAIL
    kinds = await suite.kinds(session.account_id)
    assert kinds[-2:] == ["PasswordProven", "ContactChanged"]
    changed = AuthEvent.FromString(await suite.sql.fetchval("SELECT data FROM event WHERE type = 'ContactChanged'"))
    assert list(changed.contact_changed.changed) == [ContactChanged.PART_EMAIL]
    assert changed.contact_changed.via == ContactChanged.VIA_SUBSCRIBER
    assert await suite.auth.is_active(session.token)


@pytest.mark.row("M11")
@pytest.mark.row("M20")
async def test_the_phone_on_file_and_the_old_address_are_told_and_nobody_else(suite: Suite) -> None:
    session = await suite.register(language="en")
    await put_on_file(suite, session)
    told = await claimed_notice(suite, session.account_id, await event_of(suite, "ContactChanged"))
    assert (told.phone, told.email, told.language) == (PHONE, "", "en")
    assert await suite.sql.fetchval("SELECT count(*) FROM notice") == 1, "nothing was replaced"
    await put_on_file(suite, session, OTHER_EMAIL)
    told = await claimed_notice(suite, session.account_id, await event_of(suite, "ContactChanged"))
    assert (told.phone, told.email) == (PHONE, "")
    replaced = await event_of(suite, "ContactReplaced")
    told = await claimed_notice(suite, session.account_id, replaced)
    assert (told.phone, told.email, told.language) == ("", EMAIL, "en")
    report = delivery_pb.ReportRequest(
        account_id=session.account_id, event_id=str(replaced), outcome=delivery_pb.DELIVERY_OUTCOME_SENT
    )
    await suite.auth.delivery.Report(report, timeout=10)
    assert await suite.sql.fetchval("SELECT count(contact) FROM notice") == 0, "kept no longer than it is needed"
    await put_on_file(suite, session, OTHER_EMAIL)
    assert await suite.sql.fetchval("SELECT count(*) FROM notice") == 3, "the same address is no change"


@pytest.mark.row("M11")
@pytest.mark.row("M22")
async def test_a_wrong_password_there_is_a_guess_like_any_other(suite: Suite, evaluated: list[bool]) -> None:
    session = await suite.register()
    for left in (2, 1, 0):
        refused = await refusal(start_change(suite, session.token, password="Wrong-1-password"))
        assert (refused.reason, refused.metadata) == ("CREDENTIALS_REJECTED", {"attempts_left": str(left)})
        await suite.play_stream()
    assert (await refusal(start_change(suite, session.token))).reason == "SIGN_IN_BLOCKED"
    assert evaluated == [False] * 3
    assert await suite.otp_sql.fetchval("SELECT count(*) FROM challenge WHERE state = 'open'") == 0, "nothing was sent"


@pytest.mark.row("M22")
@pytest.mark.row("B1")
async def test_a_right_password_there_clears_strikes_and_names_what_it_forgives(suite: Suite) -> None:
    session = await suite.register()
    await suite.wrong(2)
    await start_change(suite, session.token)
    await suite.play_stream()
    assert await suite.strikes(session.account_id) == await suite.open_attempts() == 0
    rows = await suite.sql.fetch("SELECT data FROM event WHERE type IN ('LoginFailed', 'PasswordProven') ORDER BY version")
    *failed, proven = (AuthEvent.FromString(row["data"]) for row in rows)
    assert list(proven.password_proven.forgiven_attempt_ids) == [one.login_failed.attempt_id for one in failed]
    assert proven.password_proven.session_id == session.session_id
    assert len(await suite.wrong(2)) == 2
    assert await suite.strikes(session.account_id) == 2


@pytest.mark.row("M11")
async def test_its_code_and_its_grant_are_good_for_nothing_else(suite: Suite) -> None:
    session = await suite.register()
    recovery = await suite.auth.flow("Recovery").start()
    sent = await start_change(suite, session.token)
    code = await suite.code_of(sent.grant)
    for kind in ("Recovery", "Registration"):
        assert (await refusal(suite.auth.flow(kind).confirm(sent.grant, code))).reason == "GRANT_INVALID"
    other = await refusal(confirm_change(suite, session.token, recovery.grant, await suite.code_of(recovery.grant)))
    assert other.reason == "GRANT_INVALID"
    assert await goes_to(suite, (await start_recovery(suite, CONTACT_CHANNEL_EMAIL)).grant) == ""


@pytest.mark.row("M11")
async def test_another_accounts_session_does_not_end_it(suite: Suite) -> None:
    """Else whoever finds a grant and a code puts the address of their choice on file."""
    session, thief = await suite.register(), await suite.register(OTHER_PHONE)
    sent = await start_change(suite, session.token)
    code = await suite.code_of(sent.grant)
    assert (await refusal(confirm_change(suite, thief.token, sent.grant, code))).reason == "GRANT_INVALID"
    assert (await refusal(confirm_change(suite, "nobody", sent.grant, code))).reason == "SESSION_INVALID"
    await confirm_change(suite, session.token, sent.grant, code)


@pytest.mark.row("M11")
async def test_its_grant_is_used_once_whatever_comes_at_once(suite: Suite) -> None:
    session = await suite.register()
    sent = await start_change(suite, session.token)
    code = await suite.code_of(sent.grant)
    calls = [confirm_change(suite, session.token, sent.grant, code) for _ in range(5)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    assert answers.count(None) == 1
    assert all(isinstance(one, grpc.aio.AioRpcError) for one in answers if one is not None)
    assert (await refusal(confirm_change(suite, session.token, sent.grant, code))).reason == "GRANT_INVALID"


@pytest.mark.row("M11")
async def test_a_new_password_or_another_address_since_voids_it(suite: Suite) -> None:
    session = await suite.register()
    before, other = [await start_change(suite, session.token, email) for email in (EMAIL, OTHER_EMAIL)]
    code = await suite.code_of(before.grant)
    await confirm_change(suite, session.token, other.grant, await suite.code_of(other.grant))
    assert (await refusal(confirm_change(suite, session.token, before.grant, code))).reason == "GRANT_INVALID"
    begun = await start_change(suite, session.token)
    code = await suite.code_of(begun.grant)
    await suite.auth.change(session.token, new=NEW_PASSWORD)
    assert (await refusal(confirm_change(suite, session.token, begun.grant, code))).reason == "GRANT_INVALID"
    assert await goes_to(suite, (await start_recovery(suite, CONTACT_CHANNEL_EMAIL)).grant) == OTHER_EMAIL


@pytest.mark.row("M11")
async def test_a_wrong_code_puts_nothing_on_file_and_tells_how_many_tries_are_left(suite: Suite) -> None:
    session = await suite.register()
    sent = await start_change(suite, session.token)
    right = await suite.code_of(sent.grant)
    wrong = str((int(right) + 1) % 10**sent.digits).zfill(sent.digits)
    refused = await refusal(confirm_change(suite, session.token, sent.grant, wrong))
    assert (refused.reason, refused.metadata) == ("CODE_REJECTED", {"tries_left": "2"})
    await confirm_change(suite, session.token, sent.grant, right)


@pytest.mark.parametrize(
    "email", ["", "vera", "vera@", "vera@example.com\r\nBcc: x@example.com", "vera@localhost", "в@пример.рф"]
)
async def test_what_is_no_address_is_refused_before_the_password_is_looked_at(
    suite: Suite, evaluated: list[bool], email: str
) -> None:
    session = await suite.register()
    request = start_change(suite, session.token, email)
    refused = await refusal(request)
    suite.said.discard(email)
    assert (refused.code, list(refused.violations)) == ("INVALID_ARGUMENT", ["email"])
    assert not evaluated


@pytest.mark.row("M20")
async def test_a_language_is_chosen_in_a_session_and_told_to_nobody(suite: Suite) -> None:
    session = await suite.register(language="ru")
    await set_language(suite, session.token, "en")
    await set_language(suite, session.token, "en")
    assert (await suite.kinds(session.account_id)).count("ContactChanged") == 1
    assert await suite.sql.fetchval("SELECT count(*) FROM notice") == 0
    await suite.auth.change(session.token)
    told = await claimed_notice(suite, session.account_id, await event_of(suite, "PasswordChanged"))
    assert (told.phone, told.language) == (PHONE, "en")
    assert (await refusal(set_language(suite, "nobody", "en"))).reason == "SESSION_INVALID"
    assert list((await refusal(set_language(suite, session.token, "de"))).violations) == ["language"]


@pytest.mark.row("M11")
async def test_who_changes_the_language_all_the_time_does_not_keep_the_owner_from_a_new_password(suite: Suite) -> None:
    """A thief's session ends with the owner's new password: it must not be able to void the way to it."""
    thief = await suite.register()
    flow = suite.auth.flow("Recovery")
    sent = await flow.start()
    await set_language(suite, thief.token, "en")
    grant = await flow.confirm(sent.grant, await suite.code_of(sent.grant))
    await flow.choose(grant, NEW_PASSWORD)
    assert not await suite.auth.is_active(thief.token)


@pytest.mark.row("M11")
async def test_a_recovery_that_was_begun_with_the_old_address_comes_to_nothing(suite: Suite) -> None:
    session = await suite.register()
    await put_on_file(suite, session)
    flow = suite.auth.flow("Recovery")
    stolen = await start_recovery(suite, CONTACT_CHANNEL_EMAIL)
    grant = await flow.confirm(stolen.grant, await suite.code_of(stolen.grant))
    await put_on_file(suite, session, OTHER_EMAIL)
    assert (await refusal(flow.choose(grant, NEW_PASSWORD))).reason == "GRANT_INVALID"
    await suite.auth.sign_in(password=PASSWORD)
