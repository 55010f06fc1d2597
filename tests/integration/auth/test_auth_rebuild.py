"""Auth's tables thrown away, doctored and made again from its events (mission row B5)."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest
from zasov.events.v1.auth_event_pb2 import AuthEvent, LoginFailed

from services.auth.rebuild import rebuild
from services.auth.settings import AuthSettings
from services.chassis.eventstore import Fact, stamp
from services.chassis.rebuild import Report
from tests.integration.auth.links import link, prove, unlink
from tests.integration.auth.suite import NEW_PASSWORD, OTHER_PHONE, PASSWORD, UNKNOWN_PHONE, Suite, refusal
from tests.integration.rebuilding import assert_found_and_mended

pytestmark = pytest.mark.row("B5")

CHANGES = {
    "account": [
        "UPDATE account SET open_failures = array_append(open_failures, gen_random_uuid())",
        "UPDATE account SET password = password || '\\x00'",
        "UPDATE account SET contact = password",
        "UPDATE account SET credential_version = credential_version + 1",
        "UPDATE account SET version = version - 1",
        "UPDATE account SET devices = '{}' WHERE devices <> '{}'",
        "UPDATE account SET devices = array_append(devices, 'a device of mine')",
        "INSERT INTO account VALUES (gen_random_uuid(), 1, 1, 'x', 'y', '{}')",
        "DELETE FROM account",
    ],
    "session": [
        "UPDATE session SET expires_at = expires_at + interval '1 microsecond'",
        "UPDATE session SET ended_at = NULL WHERE ended_at IS NOT NULL",
        "UPDATE session SET token_hash = 'a token of mine'",
        "INSERT INTO session SELECT account_id, gen_random_uuid(), 'a token of mine', now() + interval '1 y' FROM account",
        "DELETE FROM session",
    ],
    "number_link": [
        "UPDATE number_link SET credential_version = credential_version + 1",
        "UPDATE number_link SET owner_id = gen_random_uuid()",
        "UPDATE number_link SET linked_at = linked_at + interval '1 microsecond'",
        "INSERT INTO number_link SELECT account_id, gen_random_uuid(), gen_random_uuid(), 1, now() FROM account LIMIT 1",
        "DELETE FROM number_link",
    ],
    "stranger": [
        "UPDATE stranger SET version = version + 1",
        "INSERT INTO stranger VALUES (gen_random_uuid(), 1)",
        "DELETE FROM stranger",
    ],
    "identifier": [
        "UPDATE identifier SET account_id = gen_random_uuid()",
        "INSERT INTO identifier SELECT 'the number of mine', account_id FROM account LIMIT 1",
        "DELETE FROM identifier",
    ],
}


def settings_of(suite: Suite, urls: dict[str, str]) -> AuthSettings:
    return AuthSettings(postgres_url=urls["auth"], keys_dir=suite.keys_dir)


async def live(suite: Suite) -> None:
    session = await suite.register()
    owner = await suite.register(OTHER_PHONE)
    await suite.wrong(1)
    await suite.wrong(1, UNKNOWN_PHONE)
    await suite.auth.sign_in()
    await suite.auth.change(session.token)  # ends the session of the line before; the recovery ends all again
    await suite.wrong(3)
    await suite.recover()
    proof = await prove(suite, owner.token)
    await unlink(suite, owner.token, (await link(suite, owner.token, proof, password=NEW_PASSWORD)).link_id)
    await link(suite, owner.token, proof, password=NEW_PASSWORD)
    await suite.play_stream()
    await suite.wrong(2)


async def test_what_was_changed_or_lost_by_hand_is_found_and_put_right(suite: Suite, urls: dict[str, str]) -> None:
    await live(suite)
    settings = settings_of(suite, urls)

    async def run(replace: bool) -> Report:
        return await rebuild(settings, replace=replace)

    await assert_found_and_mended(run, suite.sql, CHANGES)


async def test_after_all_is_lost_and_made_again_everybody_signs_in_as_before(suite: Suite, urls: dict[str, str]) -> None:
    await live(suite)
    session = await suite.auth.sign_in(password=NEW_PASSWORD)
    await suite.sql.execute("TRUNCATE account, session, stranger, identifier, number_link")
    assert (await refusal(suite.auth.sign_in(password=NEW_PASSWORD))).reason == "CREDENTIALS_REJECTED"
    await suite.play_stream()
    assert (await rebuild(settings_of(suite, urls), replace=True)).replaced
    assert (await suite.auth.sign_in(password=NEW_PASSWORD)).account_id == session.account_id
    assert (await suite.auth.sign_in(OTHER_PHONE, PASSWORD)).account_id
    assert await suite.auth.is_active(session.token)


async def test_an_account_whose_registration_broke_off_is_no_difference_and_gets_no_number(
    suite: Suite, urls: dict[str, str]
) -> None:
    """Between appending and confirming: the number stays a reservation, which is a lease."""
    account_id = (await suite.register()).account_id
    await suite.sql.execute("UPDATE identifier SET reserved_until = clock_timestamp() - interval '1 minute'")
    settings = settings_of(suite, urls)
    assert (await rebuild(settings)).is_equal
    # The number is registered again, by another account: both have it as their contact, one is reached by it.
    again = (await suite.register()).account_id
    assert again != account_id
    assert (await rebuild(settings)).is_equal
    await suite.sql.execute("DELETE FROM identifier")
    assert [one.table for one in (await rebuild(settings, replace=True)).tables if one.differing] == ["identifier"]
    assert str(await suite.sql.fetchval("SELECT account_id FROM identifier")) == again


async def test_an_account_whose_key_is_gone_is_rebuilt_sealed_and_without_a_number(suite: Suite, urls: dict[str, str]) -> None:
    await suite.register()
    key = await suite.sql.fetchrow("SELECT * FROM account_key")
    assert key is not None
    await suite.sql.execute("TRUNCATE account_key, identifier")
    assert (await rebuild(settings_of(suite, urls))).is_equal
    await suite.sql.execute("INSERT INTO account_key VALUES ($1, $2)", *key)
    assert (await rebuild(settings_of(suite, urls), replace=True)).replaced


async def test_a_history_that_begins_with_no_registration_is_not_folded(suite: Suite, urls: dict[str, str]) -> None:
    await suite.register()
    failed = Fact(LoginFailed(attempt_id=str(uuid4()), identifier_known=True))
    events = stamp(AuthEvent, uuid4(), 0, [failed], datetime.now(UTC))
    await suite.sql.execute("SELECT insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)", *events.arguments())
    report = await rebuild(settings_of(suite, urls))
    assert (report.history_is_sound, report.tables[0].streams) == (False, (str(events.stream_id),))
    await suite.sql.execute("ALTER TABLE event DISABLE TRIGGER event_is_insert_only")
    for table in ("outbox", "event"):
        await suite.sql.execute(f"DELETE FROM {table} WHERE stream_id = $1", events.stream_id)
    await suite.sql.execute("ALTER TABLE event ENABLE TRIGGER event_is_insert_only")
