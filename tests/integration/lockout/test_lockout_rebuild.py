"""Lockout's tables doctored, lost and made again; and how `rebuild` goes about it, whichever service it is (mission row B5)."""

import os
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from zasov.events.v1.lockout_event_pb2 import LIMIT_DIMENSION_FAILURES_BY_IP, LockoutEvent

from services.chassis import rebuild as chassis
from services.chassis.errors import CannotStart
from services.chassis.eventstore import stamp
from services.chassis.postgres import Connection
from services.chassis.rebuild import Report
from services.lockout.domain import Subject, decide_epoch
from services.lockout.penalties import LimitKey
from services.lockout.rebuild import projection, rebuild
from services.lockout.settings import LockoutSettings
from tests.integration.lockout.conftest import Lockout, Someone
from tests.integration.rebuilding import assert_found_and_mended, report_on

pytestmark = pytest.mark.row("B5")

CHANGES = {
    "subject": [
        "UPDATE subject SET strikes = 1 WHERE strikes = 2",
        "UPDATE subject SET strikes = 0, blocked_at = NULL WHERE strikes = 3",
        "UPDATE subject SET blocked_at = blocked_at + interval '1 microsecond' WHERE strikes = 3",
        "UPDATE subject SET epoch = 9 WHERE epoch > 0",
        "UPDATE subject SET version = version + 1 WHERE version > 0",
        "UPDATE subject SET stranger = NOT stranger WHERE version > 0",
        "UPDATE subject SET owner_id = gen_random_uuid() WHERE version > 0",
        "INSERT INTO subject VALUES (gen_random_uuid(), 0, gen_random_uuid(), 1, false, 0, 1)",
        "DELETE FROM subject WHERE version > 0",
    ],
    "penalty": [
        "UPDATE penalty SET version = version + 1",
        "UPDATE penalty SET key_id = 'another month'",
        "INSERT INTO penalty VALUES ('somebody', 1, '2026-03', 'infinity', 1)",
        "DELETE FROM penalty",
    ],
}


@pytest.fixture
def settings(lockout_url: str) -> LockoutSettings:
    return LockoutSettings(postgres_url=lockout_url)


async def live(lockout: Lockout) -> Someone:
    struck, blocked, freed, unknown, fresh = Someone(), Someone(), Someone(), Someone(stranger=True), Someone()
    await lockout.strike(struck, 2)
    await lockout.strike(blocked, 3)
    await lockout.strike(freed, 3)
    await lockout.store.raise_epoch(freed.key, 2)
    await lockout.strike(unknown, 1)
    await lockout.open_attempt(unknown)
    await lockout.let_pass(10)
    await lockout.store.sweep(timedelta(seconds=5))
    await lockout.open_attempt(fresh)
    key = LimitKey(LIMIT_DIMENSION_FAILURES_BY_IP, "2026-03", "aa" * 16)
    assert await lockout.penalties.impose(key, datetime.now(UTC) + timedelta(minutes=10))
    return struck


async def test_what_was_changed_or_lost_by_hand_is_found_and_put_right(lockout: Lockout, settings: LockoutSettings) -> None:
    await live(lockout)

    async def run(replace: bool) -> Report:
        return await rebuild(settings, replace=replace)

    await assert_found_and_mended(run, lockout.sql, CHANGES)


async def test_when_penalties_are_lost_the_next_one_on_a_key_goes_on_in_its_stream(
    lockout: Lockout, settings: LockoutSettings
) -> None:
    key = LimitKey(LIMIT_DIMENSION_FAILURES_BY_IP, "2026-03", "aa" * 16)
    in_ten_minutes = datetime.now(UTC) + timedelta(minutes=10)
    assert await lockout.penalties.impose(key, in_ten_minutes)
    await lockout.sql.execute("TRUNCATE penalty")
    await rebuild(settings, replace=True)
    assert await lockout.sql.fetchval("SELECT until FROM penalty") == in_ten_minutes
    await lockout.let_pass(700)
    assert await lockout.penalties.impose(key, in_ten_minutes)
    assert await lockout.sql.fetchval("SELECT max(version) FROM event") == 2


async def test_what_is_written_meanwhile_is_not_seen(lockout: Lockout, settings: LockoutSettings) -> None:
    """Events and rows are read as of one moment. Else a strike between the two would pass for a difference."""
    who = await live(lockout)

    async def strike_meanwhile(_: Connection) -> None:
        await lockout.strike(who, 1)
        await lockout.strike(Someone(), 1)

    report = await chassis.rebuild(settings, replace(projection(), finish=strike_meanwhile))
    assert report.is_equal
    again = await rebuild(settings)
    assert (again.events - report.events, again.is_equal) == (3, True)


async def test_rows_are_replaced_only_while_nobody_writes(
    lockout: Lockout, settings: LockoutSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    who = await live(lockout)
    await lockout.sql.execute("UPDATE subject SET strikes = 1 WHERE strikes = 2")
    monkeypatch.setattr(chassis, "LOCK_TIMEOUT", "200ms")
    async with lockout.sql.transaction():
        await lockout.sql.execute("SELECT FROM subject WHERE subject_id = $1 FOR UPDATE", who.id)
        with pytest.raises(CannotStart, match="stop the service's roles"):
            await rebuild(settings, replace=True)
    assert (await rebuild(settings, replace=True)).replaced


async def test_who_writes_while_rows_are_replaced_waits(lockout: Lockout, settings: LockoutSettings) -> None:
    """Else a strike that is committed after the events were read would be taken back."""
    who = await live(lockout)
    await lockout.sql.execute("UPDATE subject SET strikes = 1 WHERE strikes = 2")
    refused: list[str] = []

    async def strike_meanwhile(_: Connection) -> None:
        async with lockout.sql.transaction():
            await lockout.sql.execute("SET LOCAL lock_timeout = '100ms'")
            try:
                await lockout.sql.execute("UPDATE subject SET strikes = 0 WHERE subject_id = $1", who.id)
            except Exception as error:
                refused.append(type(error).__name__)
                raise

    with pytest.raises(Exception, match="lock timeout"):
        await chassis.rebuild(settings, replace(projection(), finish=strike_meanwhile), replace=True)
    assert refused == ["LockNotAvailableError"]
    assert (await rebuild(settings, replace=True)).replaced


_COPY = "INSERT INTO event (stream_id, version, event_id, type, occurred_at, data, is_public) SELECT"


@pytest.mark.parametrize(
    "forged",
    [
        f"{_COPY} stream_id, 9, event_id, type, occurred_at, data, is_public FROM event WHERE type = 'AccountBlocked' LIMIT 1",
        f"{_COPY} gen_random_uuid(), 1, event_id, type, occurred_at, data, is_public FROM event LIMIT 1",
        f"{_COPY} gen_random_uuid(), 1, event_id, type, occurred_at, '\\xff', is_public FROM event LIMIT 1",
        f"{_COPY} gen_random_uuid(), 1, event_id, type, occurred_at, '', is_public FROM event LIMIT 1",
    ],
    ids=["another version than its own", "of another stream", "junk", "of no kind"],
)
async def test_history_that_contradicts_itself_is_found_and_replaces_nothing(
    lockout: Lockout, settings: LockoutSettings, forged: str
) -> None:
    await live(lockout)
    await lockout.sql.execute("UPDATE subject SET strikes = 1 WHERE strikes = 2")
    before = await lockout.sql.fetch("SELECT * FROM subject ORDER BY 1")
    assert await lockout.sql.execute(forged) == "INSERT 0 1"
    report = await rebuild(settings, replace=True)
    assert (report.history_is_sound, report.replaced, report.tables[0].differing) == (False, False, 1)
    assert await lockout.sql.fetch("SELECT * FROM subject ORDER BY 1") == before
    await lockout.sql.execute("TRUNCATE event, outbox, subject, penalty")


async def test_an_event_that_is_missing_in_the_middle_is_noticed(lockout: Lockout) -> None:
    """Each of the others is in order by itself."""
    who = Someone()
    await lockout.strike(who, 1)
    events = stamp(LockoutEvent, who.id, 2, decide_epoch(Subject(who.key), 1), datetime.now(UTC))
    async with lockout.sql.transaction():
        savepoint = lockout.sql.transaction()
        await savepoint.start()
        await lockout.sql.execute("SELECT insert_events($1, $2, $3, $4, $5, $6, $7, $8, $9)", *events.arguments())
        report = await report_on(lockout.sql, "lockout")
        assert (report.tables[0].differing, report.tables[0].streams) == (1, (str(who.id),))
        await savepoint.rollback()


@pytest.mark.parametrize("column", ["type = 'StrikesCleared'", "event_id = gen_random_uuid()", "occurred_at = now()"])
async def test_a_column_that_says_another_thing_than_the_event_is_found(lockout: Lockout, column: str) -> None:
    await live(lockout)
    async with lockout.sql.transaction():
        savepoint = lockout.sql.transaction()
        await savepoint.start()
        await lockout.sql.execute("ALTER TABLE event DISABLE TRIGGER event_is_insert_only")
        await lockout.sql.execute(f"UPDATE event SET {column} WHERE type = 'LimitTripped'")
        report = await report_on(lockout.sql, "lockout")
        assert report.tables[0].differing == 1
        await savepoint.rollback()


async def test_the_command_tells_by_its_status_and_names_streams_and_what_it_leaves_out(
    lockout: Lockout, settings: LockoutSettings
) -> None:
    def run(*words: str) -> subprocess.CompletedProcess[str]:
        env = dict(os.environ) | {"ZASOV_LOCKOUT_POSTGRES_URL": settings.postgres_url}
        command = [sys.executable, "-W", "ignore", "-m", "services.lockout", "rebuild", *words]
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=60, check=False)

    who = await live(lockout)
    well = run()
    assert (well.returncode, "Every row is what its events say." in well.stdout) == (0, True), well.stderr
    assert "attempt: open attempts" in well.stdout
    await lockout.sql.execute("UPDATE subject SET strikes = 1 WHERE subject_id = $1", who.id)
    found = run()
    assert (found.returncode, str(who.id) in found.stdout) == (1, True), found.stderr
    mended = run("--replace")
    assert (mended.returncode, "put right" in mended.stdout) == (0, True), mended.stderr
    assert run().returncode == 0
    assert run("--all", str(uuid4())).returncode == 2
