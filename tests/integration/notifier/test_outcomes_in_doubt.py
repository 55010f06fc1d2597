"""Workers that die, links that break, receipts that are too quick."""

import asyncio
from datetime import timedelta
from uuid import uuid4

import pytest
from zasov.events.v1.notifier_event_pb2 import MessageFailed
from zasov.events.v1.otp_event_pb2 import OTP_PURPOSE_TEMPORARY_PASSWORD

from devstack.handsets import Handsets
from services.chassis.postgres import Database
from services.notifier import planner
from services.notifier.channels import Outcome, Outgoing
from services.notifier.channels.sms import SmsChannel
from services.notifier.domain import ChannelId, PartState, State
from services.notifier.roles import limits_of
from services.notifier.settings import NotifierSettings
from services.notifier.store import Leased, Store
from tests.fakes.delivery_services import FakeDelivery
from tests.integration.notifier.conftest import (
    PHONE,
    Event,
    Notifier,
    Start,
    account_blocked,
    comes_to,
    facts_of,
    names_of_facts,
    otp_issued,
    state_of,
    until,
)


async def begun_by_a_worker_that_died(notifier: Notifier, event: Event) -> Leased:
    stream_id, version, wanted = planner.read(event.topic, event.record())
    leased = await notifier.store.accept(f"notifier {event.topic}", stream_id, version, wanted, mine=True)
    assert leased is not None
    begun = await notifier.store.begin(leased, None)
    assert begun is not None
    return begun


async def test_a_code_left_submitting_by_a_dead_worker_is_ambiguous_and_sent_again(
    notifier: Notifier, handsets: Handsets, database: Database
) -> None:
    event = otp_issued()
    await begun_by_a_worker_that_died(notifier, event)
    row = await comes_to(database, event, "delivered")
    ambiguous, submitted, _ = await facts_of(database, event)
    assert (ambiguous.resent, ambiguous.message.attempt) == (True, 1)
    assert (submitted.message.attempt, row["attempt"]) == (2, 2)
    assert len(await handsets.messages(PHONE)) == 1


async def test_a_notice_left_submitting_by_a_dead_worker_is_ambiguous_and_not_sent_again(
    notifier: Notifier, handsets: Handsets, database: Database, issuer: FakeDelivery
) -> None:
    event = account_blocked()
    await begun_by_a_worker_that_died(notifier, event)
    await comes_to(database, event, "ambiguous")
    (fact,) = await facts_of(database, event)
    assert not fact.resent
    await until(lambda: issuer.reports == [(str(event.event_id), 2)])
    await asyncio.sleep(0.3)
    assert await handsets.messages(PHONE) == []


async def test_a_code_without_an_answer_is_sent_again_once_and_no_more(
    notifier: Notifier, handsets: Handsets, database: Database
) -> None:
    await handsets.set_behaviour(lose_count=2)
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "ambiguous")
    assert [fact.resent for fact in await facts_of(database, event)] == [True, False]
    await asyncio.sleep(0.5)
    assert await handsets.messages(PHONE) == []


async def test_a_message_in_the_hands_of_a_living_worker_is_left_to_it(
    start: Start, handsets: Handsets, database: Database
) -> None:
    """A slow SMSC: the answer takes longer than a lease."""
    await handsets.set_behaviour(response_delay_s=2.5)
    worker = await start(smpp_response_timeout_s=5.0)
    await start(smpp_response_timeout_s=5.0)
    event = otp_issued()
    await worker.meet(event)
    await comes_to(database, event, "delivered")
    assert await names_of_facts(database, event) == ["MessageSubmitted", "MessageDelivered"]
    assert len(await handsets.messages(PHONE)) == 1


async def test_the_outcome_of_a_worker_that_was_overtaken_changes_nothing(start: Start, database: Database) -> None:
    notifier = await start()
    event = account_blocked()
    late = await begun_by_a_worker_that_died(notifier, event)
    await comes_to(database, event, "ambiguous")
    assert await notifier.store.settle_submitted(late, "smsc", ["late"]) is None
    assert await state_of(database, event) == "ambiguous"
    assert await names_of_facts(database, event) == ["MessageAmbiguous"]


async def test_only_the_holder_of_the_lease_settles_a_message(settings: NotifierSettings, database: Database) -> None:
    """Also while nothing has been recorded since: the version alone does not tell."""
    store, event = Store(database, settings.policy(), timedelta(milliseconds=50), limits_of(settings)), otp_issued()
    _, version, wanted = planner.read(event.topic, event.record())
    first = await store.accept("notifier test", event.stream_id, version, wanted, mine=True)
    assert first is not None
    await asyncio.sleep(0.1)
    (second,) = await store.lease(1, [ChannelId.SMS])
    assert await store.settle_submitted(first, "smsc", ["late"]) is None
    assert await store.settle_submitted(second, "smsc", ["taken"]) is not None


async def test_a_worker_cannot_begin_what_another_has_taken_over(notifier: Notifier, database: Database) -> None:
    event = otp_issued()
    stream_id, version, wanted = planner.read(event.topic, event.record())
    leased = await notifier.store.accept("notifier test", stream_id, version, wanted, mine=True)
    assert leased is not None
    await comes_to(database, event, "delivered")
    assert await notifier.store.begin(leased, None) is None


async def test_submitting_is_on_record_before_the_smsc_hears_of_a_message(
    notifier: Notifier, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    event, dispatch = otp_issued(), SmsChannel.dispatch
    found: list[str | None] = []

    async def look_first(channel: SmsChannel, outgoing: Outgoing) -> Outcome:
        found.append(await state_of(database, event))
        return await dispatch(channel, outgoing)

    monkeypatch.setattr(SmsChannel, "dispatch", look_first)
    await notifier.meet(event)
    await comes_to(database, event, "delivered")
    assert found == ["submitting"]


async def test_of_two_workers_who_look_at_once_one_takes_the_message(settings: NotifierSettings, database: Database) -> None:
    stores = [Store(database, settings.policy(), timedelta(minutes=1), limits_of(settings)) for _ in range(2)]
    event = otp_issued()
    _, version, wanted = planner.read(event.topic, event.record())
    await stores[0].accept("notifier test", event.stream_id, version, wanted, mine=False)
    async with database.transaction() as connection:
        # Holds back who does not pass over what another has in hand.
        await connection.execute("SELECT FROM message FOR UPDATE")
        looking = [asyncio.create_task(store.lease(1, [ChannelId.SMS])) for store in stores]
        done, _ = await asyncio.wait(looking, timeout=2)
        assert [task.result() for task in done] == [[], []]
    first, second = [await store.lease(1, [ChannelId.SMS]) for store in stores]
    assert (len(first), len(second)) == (1, 0)


async def test_an_outcome_whose_storing_was_not_answered_is_stored_once(notifier: Notifier, database: Database) -> None:
    event = account_blocked()
    begun = await begun_by_a_worker_that_died(notifier, event)
    assert await notifier.store.settle_submitted(begun, "smsc", ["one"]) is not None
    assert await notifier.store.settle_submitted(begun, "smsc", ["one"]) is None
    assert await names_of_facts(database, event) == ["MessageSubmitted"]


@pytest.mark.row("M11")
async def test_a_receipt_that_comes_before_the_answer_to_its_submit_counts(
    notifier: Notifier, handsets: Handsets, database: Database
) -> None:
    await handsets.set_behaviour(receipt_before_response=True)
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "delivered")
    assert await names_of_facts(database, event) == ["MessageSubmitted", "MessageDelivered"]
    assert await database.fetch_value("SELECT count(*) FROM early_receipt") == 0


@pytest.mark.row("M11")
async def test_a_receipt_and_the_answer_stored_at_the_same_moment_find_each_other(
    notifier: Notifier, database: Database
) -> None:
    for round_ in range(40):
        event = otp_issued()
        begun = await begun_by_a_worker_that_died(notifier, event)
        await asyncio.gather(
            notifier.store.settle_submitted(begun, "smsc", [f"id-{round_}"]),
            notifier.store.receive("smsc", f"id-{round_}", PartState.DELIVERED),
        )
        assert await state_of(database, event) == "delivered"


@pytest.mark.row("M11")
@pytest.mark.parametrize(
    ("final_state", "reason"),
    [("UNDELIVERABLE", MessageFailed.REASON_UNDELIVERABLE), ("EXPIRED", MessageFailed.REASON_EXPIRED)],
)
async def test_a_receipt_of_failure_fails_the_message(
    notifier: Notifier, handsets: Handsets, database: Database, final_state: str, reason: int
) -> None:
    await handsets.set_behaviour(final_state=final_state)
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "failed")
    assert [fact.reason for fact in (await facts_of(database, event))[1:]] == [reason]


@pytest.mark.row("M11")
async def test_a_message_of_three_parts_is_delivered_when_all_of_them_are(notifier: Notifier, database: Database) -> None:
    event = account_blocked()
    begun = await begun_by_a_worker_that_died(notifier, event)
    await notifier.store.receive("smsc", "b", PartState.DELIVERED)
    await notifier.store.settle_submitted(begun, "smsc", ["a", "b", "c"])
    await notifier.store.receive("smsc", "a", PartState.DELIVERED)
    assert await state_of(database, event) == "submitted"
    await notifier.store.receive("smsc", "c", PartState.DELIVERED)
    await notifier.store.receive("smsc", "c", PartState.DELIVERED)
    assert await state_of(database, event) == "delivered"
    assert await names_of_facts(database, event) == ["MessageSubmitted", "MessageDelivered"]


@pytest.mark.row("M11")
@pytest.mark.parametrize(
    ("written", "behaviour"), [("decimal", {"receipt_form": "decimal_id"}), ("hexadecimal", {"answer_decimal_ids": True})]
)
async def test_receipts_that_write_the_id_in_another_base_are_understood(
    start: Start, handsets: Handsets, database: Database, written: str, behaviour: dict[str, object]
) -> None:
    await handsets.set_behaviour(**behaviour)
    notifier = await start(smpp_receipt_ids=written)
    event = otp_issued()
    await notifier.meet(event)
    await comes_to(database, event, "delivered")


@pytest.mark.row("M11")
async def test_an_smsc_that_gives_all_parts_of_a_text_one_id_is_understood(
    notifier: Notifier, handsets: Handsets, database: Database
) -> None:
    """Its answer could not be stored otherwise, and what has arrived would be sent once more."""
    await handsets.set_behaviour(one_id_a_text=True)
    event = otp_issued(purpose=OTP_PURPOSE_TEMPORARY_PASSWORD)
    await notifier.meet(event)
    await comes_to(database, event, "delivered")
    submitted, _ = await facts_of(database, event)
    (message,) = await handsets.messages(PHONE)
    assert len(set(message.message_ids)) == 1
    assert submitted.parts == message.parts == 2


@pytest.mark.row("M11")
async def test_of_parts_with_one_id_one_that_is_lost_makes_the_text_useless(notifier: Notifier, database: Database) -> None:
    early, late = account_blocked(), account_blocked()
    await notifier.store.receive("smsc", "a", PartState.UNDELIVERABLE)
    for event, ids in ((early, ["a", "a"]), (late, ["b", "b", "c"])):
        begun = await begun_by_a_worker_that_died(notifier, event)
        await notifier.store.settle_submitted(begun, "smsc", ids)
    await notifier.store.receive("smsc", "c", PartState.DELIVERED)
    assert await state_of(database, late) == "submitted"
    await notifier.store.receive("smsc", "b", PartState.UNDELIVERABLE)
    assert (await state_of(database, early), await state_of(database, late)) == ("failed", "failed")


async def test_an_id_given_again_by_the_smsc_is_that_of_the_newest_message(notifier: Notifier, database: Database) -> None:
    old, new = otp_issued(), otp_issued()
    for event in (old, new):
        begun = await begun_by_a_worker_that_died(notifier, event)
        await notifier.store.settle_submitted(begun, "smsc", ["1"])
    await notifier.store.receive("smsc", "1", PartState.DELIVERED)
    assert (await state_of(database, old), await state_of(database, new)) == ("submitted", "delivered")


async def test_a_receipt_is_acknowledged_only_when_it_is_committed(
    notifier: Notifier, handsets: Handsets, database: Database
) -> None:
    await database.execute("ALTER TABLE part RENAME TO part_elsewhere")
    await database.execute("ALTER TABLE early_receipt RENAME TO early_receipt_elsewhere")
    await handsets.set_behaviour(receipt_before_response=False, retry_s=0.1)
    begun = await begun_by_a_worker_that_died(notifier, otp_issued())
    assert begun.message.state is State.SUBMITTING
    await handsets.set_behaviour(delivery_delay_s=0.0)
    event = otp_issued()
    await notifier.meet(event)
    await until(lambda: _undelivered(handsets))
    await asyncio.sleep(0.3)
    assert await _undelivered(handsets)
    await database.execute("ALTER TABLE part_elsewhere RENAME TO part")
    await database.execute("ALTER TABLE early_receipt_elsewhere RENAME TO early_receipt")
    await until(lambda: _nothing_undelivered(handsets))


async def _undelivered(handsets: Handsets) -> bool:
    return bool((await handsets.state())["undelivered"])


async def _nothing_undelivered(handsets: Handsets) -> bool:
    return not await _undelivered(handsets)


async def test_early_receipts_of_nobody_are_forgotten(notifier: Notifier, database: Database) -> None:
    await notifier.store.receive("smsc", str(uuid4()), PartState.DELIVERED)
    await notifier.store.forget_early_receipts(timedelta(hours=1))
    assert await database.fetch_value("SELECT count(*) FROM early_receipt") == 1
    await notifier.store.forget_early_receipts(timedelta(0))
    assert await database.fetch_value("SELECT count(*) FROM early_receipt") == 0
