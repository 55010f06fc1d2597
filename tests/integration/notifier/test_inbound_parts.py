"""Long texts from handsets: joined by sender, receiver and reference, and by nothing less."""

import asyncio

import pytest
from zasov.events.v1.notifier_event_pb2 import SmsReceived

from devstack.smsc import Smsc
from services.chassis.postgres import Database
from services.chassis.sealing import PrivateSeal
from services.notifier.settings import NotifierSettings
from tests.integration.notifier.conftest import PHONE
from tests.integration.notifier.inbound import LONG, LONGER, OTHER, deliver, parts_of, received, status_of, store_of, texts_in

pytestmark = [pytest.mark.row("M6"), pytest.mark.row("B3"), pytest.mark.usefixtures("notifier")]


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1), (3, 1, 2)])
async def test_parts_in_any_order_make_one_text(
    order: tuple[int, ...], database: Database, smsc: Smsc, private: PrivateSeal
) -> None:
    parts = parts_of(PHONE, "111", LONGER, 9)
    for number in order:
        assert await received(database) == []
        await deliver(smsc, parts[number - 1])
    assert await received(database) == [SmsReceived(destination="111", parts=3)]
    assert await texts_in(database, private) == [(PHONE, LONGER)]


async def test_parts_that_come_at_once_make_one_text(database: Database, smsc: Smsc, private: PrivateSeal) -> None:
    await asyncio.gather(*(deliver(smsc, part) for part in [*parts_of(PHONE, "111", LONGER, 9)] * 2))
    assert await received(database) == [SmsReceived(destination="111", parts=3)]
    assert await texts_in(database, private) == [(PHONE, LONGER)]


async def test_a_repeated_part_is_stored_once_before_and_after_the_text_is_whole(database: Database, smsc: Smsc) -> None:
    first, second = parts_of(PHONE, "111", LONG, 9)
    for part in (first, first, second, second, first):
        await deliver(smsc, part)
    assert await received(database) == [SmsReceived(destination="111", parts=2)]
    assert await database.fetch_value("SELECT count(*) FROM inbound_part") == 2


async def test_two_senders_with_the_same_reference_are_never_mixed(
    database: Database, smsc: Smsc, private: PrivateSeal
) -> None:
    mine, theirs = parts_of(PHONE, "111", LONG, 9), parts_of(OTHER, "111", LONG.upper(), 9)
    for part in (mine[0], theirs[1], theirs[0], mine[1]):
        await deliver(smsc, part)
    assert set(await texts_in(database, private)) == {(PHONE, LONG), (OTHER, LONG.upper())}


async def test_references_of_two_kinds_are_never_mixed(database: Database, smsc: Smsc, private: PrivateSeal) -> None:
    by_header = parts_of(PHONE, "111", LONG, 9)
    by_tlvs = [
        {
            **part,
            "esm_class": 0,
            "short_message": bytes(part["short_message"])[6:],  # type: ignore[arg-type]
            "sar_msg_ref_num": 9,
            "sar_total_segments": 2,
            "sar_segment_seqnum": number,
        }
        for number, part in enumerate(parts_of(PHONE, "111", LONG.upper(), 9), start=1)
    ]
    for part in (by_header[0], by_tlvs[1], by_tlvs[0], by_header[1]):
        await deliver(smsc, part)
    assert set(await texts_in(database, private)) == {(PHONE, LONG), (PHONE, LONG.upper())}


async def test_a_part_that_contradicts_its_text_is_refused_for_good_and_the_text_stays_as_it_was(
    database: Database, smsc: Smsc, private: PrivateSeal
) -> None:
    first, second = parts_of(PHONE, "111", LONG, 9)
    await deliver(smsc, first)
    for other in (
        parts_of(PHONE, "111", LONGER, 9)[1],  # another total
        parts_of(PHONE, "111", LONG.upper(), 9)[0],  # the same number with other words
        {**second, "data_coding": 3},
        {**second, "short_message": b"\x05\x00\x03\x09\x02\x03hi"},  # beyond its own total
    ):
        assert await status_of(smsc, other) == 0x65
    await deliver(smsc, second)
    assert await texts_in(database, private) == [(PHONE, LONG)]


async def test_an_incomplete_text_is_given_up_and_its_reference_is_free_again(
    database: Database, smsc: Smsc, settings: NotifierSettings, private: PrivateSeal
) -> None:
    first, second = parts_of(PHONE, "111", LONG, 9)
    await deliver(smsc, first)
    await database.execute("UPDATE inbound SET started_at = started_at - interval '5 minutes'")
    assert await status_of(smsc, parts_of(PHONE, "111", LONGER, 9)[0]) == 0
    await deliver(smsc, parts_of(OTHER, "111", LONG, 9)[0])
    await database.execute("UPDATE inbound SET started_at = started_at - interval '5 minutes'")
    assert (await store_of(settings, database).tidy()).incomplete == 2
    assert await database.fetch_value("SELECT count(*) FROM inbound_part") == 0
    for part in (second, first):
        await deliver(smsc, part)
    assert await texts_in(database, private) == [(PHONE, LONG)]
