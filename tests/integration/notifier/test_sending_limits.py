"""Too many SMS to one number, one range of numbers, one country: what goes out, what is refused, who is told."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from zasov.events.v1.notifier_event_pb2 import MessageFailed, NotifierEvent, SendingLimitTripped

from devstack.handsets import Handsets
from services.chassis.postgres import Database
from services.notifier import planner
from services.notifier.domain import State
from services.notifier.housekeeping import forget_for_ever
from services.notifier.limits.store import Recipient
from services.notifier.store import Leased
from tests.fakes.delivery_services import FakeDelivery
from tests.integration.notifier.conftest import (
    PHONE,
    Event,
    Notifier,
    Start,
    account_blocked,
    comes_to,
    facts_of,
    otp_issued,
    until,
)

FAILED = 2
ABROAD = "+4915112345678"


async def send(notifier: Notifier, database: Database, state: str = "delivered", event: Event | None = None) -> Event:
    event = event or otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, state)
    return event


async def trips(database: Database) -> list[SendingLimitTripped]:
    rows = await database.fetch("SELECT data FROM event WHERE type = 'SendingLimitTripped' ORDER BY occurred_at")
    return [NotifierEvent.FromString(row["data"]).sending_limit_tripped for row in rows]


async def counted(database: Database) -> int:
    """SMS to the numbers, ranges and countries that were counted, all together."""
    total: int = await database.fetch_value("SELECT coalesce(sum(c), 0) FROM sending_count, unnest(counts) c")
    return total


async def let_pass(database: Database, span: timedelta, slot: timedelta) -> None:
    """For counts that lie in slots of such a length."""
    await database.execute(
        "UPDATE sending_count SET slots = ARRAY(SELECT s - $1 FROM unnest(slots) s), told_all_at = told_all_at - $2::interval,"
        " told_strangers_at = told_strangers_at - $2::interval",
        -(-span // slot), span,
    )  # fmt: skip


@pytest.mark.row("M10")
async def test_a_number_gets_so_many_sms_a_day_of_all_kinds_together(
    start: Start, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    notifier = await start(sms_per_number=3)
    for event in (otp_issued(), account_blocked(), otp_issued()):
        await send(notifier, database, event=event)
    over = [await send(notifier, database, "failed", event) for event in (otp_issued(), account_blocked())]
    for event in over:
        (fact,) = await facts_of(database, event)
        assert (fact.reason, fact.provider_status) == (MessageFailed.REASON_NUMBER_CAP, 0)
    await until(lambda: {(str(event.event_id), FAILED) for event in over} <= set(issuer.reports))
    assert len(await handsets.messages(PHONE)) == 3
    issuer.answer.phone = "+79160000002"
    await send(notifier, database)


@pytest.mark.row("M10")
async def test_a_day_later_the_number_gets_sms_again(start: Start, database: Database) -> None:
    notifier = await start(sms_per_number=1)
    await send(notifier, database)
    await let_pass(database, timedelta(hours=23), timedelta(minutes=24))
    await send(notifier, database, "failed")
    await let_pass(database, timedelta(hours=2), timedelta(minutes=24))
    await send(notifier, database)


@pytest.mark.row("M10")
async def test_of_many_at_once_from_two_workers_no_more_go_out_than_the_limit(
    start: Start, handsets: Handsets, database: Database
) -> None:
    workers = [await start(sms_per_number=5) for _ in range(2)]
    await handsets.set_behaviour(response_delay_s=0.2)
    events = [otp_issued() for _ in range(20)]
    await asyncio.gather(*(workers[number % 2].meet(event) for number, event in enumerate(events)))
    ended = "SELECT count(*) FROM message WHERE state IN ('delivered', 'failed')"
    await until(lambda: _is(database, ended, 20))
    assert len(await handsets.messages(PHONE)) == 5
    assert await counted(database) == 2 * 5
    assert len(await trips(database)) == 1


async def _is(database: Database, sql: str, value: int) -> bool:
    return bool(await database.fetch_value(sql) == value)


@pytest.mark.row("M10")
async def test_a_second_sending_of_the_same_code_counts_too(start: Start, handsets: Handsets, database: Database) -> None:
    notifier = await start(sms_per_number=1)
    await handsets.set_behaviour(lose_count=1)
    event = await send(notifier, database, "failed")
    ambiguous, failed = await facts_of(database, event)
    assert ambiguous.resent
    assert failed.reason == MessageFailed.REASON_NUMBER_CAP


@pytest.mark.row("M10")
async def test_what_the_smsc_puts_off_counts_once_however_often_it_is_tried(
    start: Start, handsets: Handsets, database: Database
) -> None:
    notifier = await start(sms_per_number=1)
    await handsets.set_behaviour(refuse_count=3)
    event = await send(notifier, database)
    assert await database.fetch_value("SELECT attempt FROM message") > 1
    assert len(await handsets.messages(PHONE)) == 1
    assert await counted(database) == 2  # the number, its range
    assert [type(fact).__name__ for fact in await facts_of(database, event)] == ["MessageSubmitted", "MessageDelivered"]


async def test_a_range_that_is_pumped_lets_those_through_who_have_an_account(
    start: Start, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    notifier = await start(sms_per_range=4, sms_reserve=0.5)

    async def to(last: int, *, has_account: bool, state: str = "delivered", event: Event | None = None) -> Event:
        issuer.answer.phone, issuer.answer.has_account = f"+7916000{last:04d}", has_account
        return await send(notifier, database, state, event)

    for number in range(2):
        await to(number, has_account=False)
    refused = await to(2, has_account=False, state="failed")
    (fact,) = await facts_of(database, refused)
    assert fact.reason == MessageFailed.REASON_PREFIX_BUDGET
    await to(3, has_account=True)
    # Whoever gets a notice has an account.
    await to(4, has_account=False, event=account_blocked())
    await to(5, has_account=True, state="failed")
    await to(6, has_account=True, state="failed")
    await until(lambda: (str(refused.event_id), FAILED) in issuer.reports)
    assert [(trip.limit, trip.refused) for trip in await trips(database)] == [
        (SendingLimitTripped.LIMIT_RANGE, SendingLimitTripped.REFUSED_STRANGERS),
        (SendingLimitTripped.LIMIT_RANGE, SendingLimitTripped.REFUSED_ALL),
    ]
    issuer.answer.phone = "+79160010000"
    await send(notifier, database)


async def test_a_country_has_a_limit_of_its_own_but_for_those_at_home(
    start: Start, database: Database, issuer: FakeDelivery
) -> None:
    notifier = await start(sms_per_country=1, sms_reserve=0, sms_home_countries="7")
    for phone in (ABROAD, PHONE, "+79210000000"):
        issuer.answer.phone = phone
        await send(notifier, database)
    issuer.answer.phone = "+4916012345678"
    event = await send(notifier, database, "failed")
    (fact,) = await facts_of(database, event)
    assert fact.reason == MessageFailed.REASON_PREFIX_BUDGET
    (trip,) = await trips(database)
    assert (trip.limit, trip.calling_code) == (SendingLimitTripped.LIMIT_COUNTRY, 49)


async def test_that_a_limit_was_reached_is_told_once_within_its_time_and_names_nobody(start: Start, database: Database) -> None:
    notifier = await start(sms_per_number=1)
    before = _refused("number", "all")
    await send(notifier, database)
    for _ in range(3):
        await send(notifier, database, "failed")
    (trip,) = await trips(database)
    assert (trip.limit, trip.refused) == (SendingLimitTripped.LIMIT_NUMBER, SendingLimitTripped.REFUSED_ALL)
    assert trip.since.seconds > 0
    assert _refused("number", "all") == before + 3
    stream: UUID = await database.fetch_value("SELECT stream_id FROM event WHERE type = 'SendingLimitTripped' AND is_public")
    assert stream not in [row["notification_id"] for row in await database.fetch("SELECT notification_id FROM message")]
    await let_pass(database, timedelta(days=1), timedelta(minutes=24))
    await database.execute("UPDATE sending_count SET slots = ARRAY(SELECT s + 60 FROM unnest(slots) s)")
    await send(notifier, database, "failed")
    versions = await database.fetch("SELECT version FROM event WHERE stream_id = $1 ORDER BY version", stream)
    assert [row["version"] for row in versions] == [1, 2]


def _refused(limit: str, refused: str) -> float:
    return REGISTRY.get_sample_value("zasov_notifier_sending_refused_total", {"limit": limit, "refused": refused}) or 0.0


@pytest.mark.row("M10")
async def test_a_submit_whose_recording_was_not_answered_counts_once(start: Start, database: Database) -> None:
    """It is recorded again: the answer to the commit was lost, not the commit."""
    notifier = await start(bound=False, lease_s=30.0, sms_per_number=2)
    leased, other = [await accepted(notifier) for _ in range(2)]
    references = []
    for one in (leased, other, leased):
        begun = await notifier.store.begin(one, Recipient(PHONE, has_account=True))
        assert begun is not None
        assert begun.message.state is State.SUBMITTING
        references.append(begun.reference)
    assert await counted(database) == 2 * 2  # the number, its range
    # Whichever recording is gone by, the parts of the two are told apart.
    assert len(set(references)) == 3


async def accepted(notifier: Notifier) -> Leased:
    event = otp_issued()
    stream_id, version, wanted = planner.read(event.topic, event.record())
    leased = await notifier.store.accept("test", stream_id, version, wanted, mine=True)
    assert leased is not None
    return leased


async def test_emails_count_under_no_limit(start: Start, database: Database, issuer: FakeDelivery) -> None:
    notifier = await start(sms_per_number=1)
    await send(notifier, database)
    issuer.answer.email = "a@example.org"
    event = otp_issued()
    await notifier.meet(event)
    (fact,) = await until(lambda: facts_of(database, event))
    assert fact.reason == MessageFailed.REASON_REFUSED  # no mail server here; but over no limit
    assert await counted(database) == 2


@pytest.mark.row("B2")
async def test_no_number_and_no_part_of_one_stands_in_the_counts(start: Start, database: Database) -> None:
    notifier = await start(sms_home_countries="")
    await send(notifier, database)
    rows: list[Any] = await database.fetch("SELECT key, c::text AS text FROM sending_count c")
    assert len(rows) == 3
    assert all(len(row["key"]) == 16 for row in rows)
    assert not [row for row in rows if "7916" in row["text"] or PHONE[1:8].encode() in row["key"]]


async def test_counts_that_no_limit_asks_for_are_forgotten(notifier: Notifier, database: Database) -> None:
    await send(notifier, database)
    await database.execute("UPDATE sending_count SET touched_at = touched_at - interval '26 hours'")
    task = asyncio.create_task(forget_for_ever(notifier.store, timedelta(minutes=10)))
    await until(lambda: _is(database, "SELECT count(*) FROM sending_count", 0))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
