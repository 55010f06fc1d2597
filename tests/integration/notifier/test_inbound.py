"""From a handset to SmsReceived: acknowledged once committed, stored once, readable by nobody."""

import asyncio
import logging
import random
from typing import Any

import asyncpg
import pytest
from prometheus_client import generate_latest
from structlog.testing import capture_logs
from zasov.events.v1.notifier_event_pb2 import SmsLimitTripped, SmsReceived

from devstack.handsets import Handsets
from devstack.smsc import Smsc
from services.chassis.postgres import Database
from services.chassis.sealing import PrivateSeal
from services.notifier.smpp.codec import encode
from tests.integration.notifier.conftest import PHONE, Notifier, otp_issued, until
from tests.integration.notifier.inbound import (
    LONG,
    LONGER,
    OTHER,
    counted,
    deliver,
    held,
    parts_of,
    received,
    status_of,
    texts_in,
)

pytestmark = [pytest.mark.row("M6"), pytest.mark.row("B3"), pytest.mark.usefixtures("notifier")]


async def test_a_text_becomes_one_event_that_tells_neither_sender_nor_text(
    handsets: Handsets, database: Database, private: PrivateSeal
) -> None:
    await handsets.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True)
    assert await received(database) == [SmsReceived(destination="3339", parts=1)]
    assert await texts_in(database, private) == [(PHONE, "ПАРОЛЬ")]
    assert await database.fetch_value("SELECT count(*) FROM outbox") == 1
    stream = await database.fetch_value("SELECT stream_id FROM event")
    assert await database.fetch_value("SELECT inbound_id FROM inbound") == stream


async def test_a_text_is_acknowledged_only_after_it_is_committed(
    handsets: Handsets, database: Database, database_url: str, smsc: Smsc
) -> None:
    async with held(database_url, "event") as waiting:
        sending = asyncio.ensure_future(handsets.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True))
        await until(waiting)
        assert smsc.centre.undelivered == 1
        assert not sending.done()
    await sending
    assert len(await received(database)) == 1


async def test_a_text_whose_acknowledgement_was_lost_is_not_stored_again(
    handsets: Handsets, database: Database, smsc: Smsc
) -> None:
    """However often it comes, and over whichever link."""
    (text,) = parts_of(PHONE, "3339", "ПАРОЛЬ", 1)
    await deliver(smsc, text)
    await asyncio.gather(*(deliver(smsc, text) for _ in range(3)))
    await handsets.drop_all()
    await deliver(smsc, text)
    assert len(await received(database)) == 1


async def test_of_two_deliveries_of_one_text_at_the_same_moment_one_is_stored(
    database: Database, database_url: str, smsc: Smsc
) -> None:
    (text,) = parts_of(PHONE, "3339", "ПАРОЛЬ", 1)
    async with held(database_url, "inbound_sender") as waiting:
        both = [asyncio.ensure_future(deliver(smsc, text)) for _ in range(2)]

        async def both_wait() -> bool:
            return await waiting() == 2

        await until(both_wait)
    await asyncio.gather(*both)
    assert len(await received(database)) == 1


async def test_two_equal_texts_sent_minutes_apart_are_two(handsets: Handsets, database: Database) -> None:
    await handsets.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True)
    await database.execute("UPDATE inbound_part SET received_at = received_at - interval '61 seconds'")
    await handsets.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True)
    assert len(await received(database)) == 2


async def test_a_number_of_the_message_tells_two_equal_texts_apart(database: Database, smsc: Smsc) -> None:
    (text,) = parts_of(PHONE, "3339", "ПАРОЛЬ", 1)
    for reference in (1, 2, 2):
        await deliver(smsc, {**text, "user_message_reference": reference})
    assert len(await received(database)) == 2


@pytest.mark.row("B1")
async def test_texts_over_the_limit_of_a_sender_are_acknowledged_dropped_and_told_of_once(
    database: Database, handsets: Handsets, smsc: Smsc
) -> None:
    before = counted("limited")
    for number in range(13):
        await handsets.send(PHONE, "3339", f"text {number}", acknowledged=True)
    await handsets.send(OTHER, "3339", "text", acknowledged=True)
    facts = await received(database)
    assert facts.count(SmsReceived(destination="3339", parts=1)) == 11, "ten, and another sender's"
    assert facts.count(SmsLimitTripped(destination="3339")) == 1
    assert counted("limited") - before == 3
    assert smsc.centre.undelivered == 0
    assert await database.fetch_value("SELECT count(*) FROM inbound_part") == 11


@pytest.mark.parametrize(
    ("outcome", "change"),
    [
        ("other_number", {"destination_addr": "79160000003", "dest_addr_ton": 1}),
        ("no_phone", {"source_addr": "Bank", "source_addr_ton": 5}),
        ("no_phone", {"source_addr": "3339", "source_addr_ton": 3}),
        ("no_phone", {"source_addr": ""}),
        ("too_long", {"short_message": b"", "message_payload": b"x" * 1025, "data_coding": 0}),
        ("too_long", {"sar_msg_ref_num": 1, "sar_total_segments": 5, "sar_segment_seqnum": 1}),
    ],
)
async def test_what_is_no_command_is_acknowledged_and_dropped(
    outcome: str, change: dict[str, Any], database: Database, smsc: Smsc
) -> None:
    before = counted(outcome)
    (text,) = parts_of(PHONE, "3339", "ПАРОЛЬ", 1)
    assert await status_of(smsc, {**text, **change}) == 0
    assert counted(outcome) - before == 1
    assert await received(database) == []
    assert await database.fetch_value("SELECT count(*) FROM inbound_sender") == 0


async def test_thousands_of_mutated_deliveries_leave_the_link_up_and_store_nothing_odd(
    database: Database, smsc: Smsc, private: PrivateSeal
) -> None:
    (session,) = smsc.sessions
    chance = random.Random(7)
    seeds = [encode("deliver_sm", 0, part) for part in (*parts_of(PHONE, "111", LONG, 9), *parts_of(OTHER, "3339", "hi", 1))]
    answers = []
    for number in range(3000):
        raw = bytearray(chance.choice(seeds))
        for _ in range(chance.randint(1, 8)):
            raw[chance.randrange(16, len(raw))] = chance.randrange(256)
        raw[12:16] = (0x10000 + number).to_bytes(4, "big")
        answer = session._answers[0x10000 + number] = asyncio.get_running_loop().create_future()
        answers.append(answer)
        session.write(bytes(raw))
        if number % 50 == 49:
            async with asyncio.timeout(20):
                statuses = await asyncio.gather(*answers[-50:])
            assert set(statuses) <= {0x00, 0x65}
    assert smsc.sessions == {session}
    await deliver(smsc, parts_of("+79169999999", "3339", "ПАРОЛЬ", 1)[0])
    assert ("+79169999999", "ПАРОЛЬ") in await texts_in(database, private), "each that is whole can be read"
    odd = await database.fetch_value(
        "SELECT count(*) FROM inbound i WHERE destination NOT IN ('3339', '111') OR total > 4"
        " OR (state = 'received') <> ((SELECT count(*) FROM inbound_part p WHERE p.inbound_id = i.inbound_id) = total)"
    )
    assert odd == 0


@pytest.mark.row("B2")
async def test_neither_a_password_nor_its_sender_is_in_any_table_log_or_metric(
    database: Database, database_url: str, handsets: Handsets, smsc: Smsc, caplog: pytest.LogCaptureFixture
) -> None:
    phone, password = "+79163141592", "Канарейка-" * 12
    caplog.set_level(logging.DEBUG)
    with capture_logs() as lines:
        await handsets.set_behaviour(retry_s=0.05)
        await handsets.send(phone, "111", f"25 {password}", acknowledged=True)
        await handsets.send(phone, "111", f"25 {password}", acknowledged=True, reference=77)
        await handsets.send(phone, "111", "25 Canary1618", acknowledged=True)
        (text,) = parts_of(phone, "111", "25 Canary1618", 1)
        await status_of(smsc, {**text, "data_coding": 4})
        await deliver(smsc, {**parts_of(phone, "111", f"25 {password}", 99)[0]})
        await status_of(smsc, parts_of(phone, "111", LONGER + password, 99)[1])
        async with held(database_url, "event"):
            await handsets.send(phone, "3339", "25 Canary1618 again")
            await until(lambda: [record for record in caplog.records if "handler failed" in record.msg], timeout=15)
        await until(lambda: smsc.centre.undelivered == 0)
    assert len(await received(database)) == 4
    canaries = [phone, phone[1:], "Канарейка", "Canary1618", "25 "]
    needles = [one.encode(coding) for one in canaries[:-1] for coding in ("utf-8", "utf-16-be", "utf-16-le")]
    places = {
        "tables": await bytes_in(database_url),
        "logs": "\n".join(map(str, lines)).encode(),
        "libraries' logs": "\n".join(f"{record.msg} {record.args}" for record in caplog.records).encode(),
        "metrics": generate_latest(),
    }
    assert [(place, needle) for place, data in places.items() for needle in needles if needle in data] == []


async def bytes_in(database_url: str) -> bytes:
    """Every column of every table, in the bytes that it holds."""
    connection = await asyncpg.connect(database_url)
    try:
        tables = {name for (name,) in await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
        assert {"inbound", "inbound_part", "inbound_sender", "event", "outbox"} <= tables
        rows = [row for table in tables for row in await connection.fetch(f'SELECT * FROM "{table}"')]
        assert len(rows) > 20
        return b"\n".join(one if isinstance(one, bytes) else str(one).encode() for row in rows for one in row)
    finally:
        await connection.close()


async def test_messages_go_out_while_texts_come_in(handsets: Handsets, database: Database, notifier: Notifier) -> None:
    await notifier.meet(otp_issued())
    await handsets.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True)
    assert "4711" in (await handsets.wait(PHONE)).text
    assert SmsReceived(destination="3339", parts=1) in await received(database)
