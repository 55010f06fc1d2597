"""Texts from handsets, as tests send them and find them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import asyncpg
from prometheus_client import REGISTRY
from zasov.events.v1.notifier_event_pb2 import NotifierEvent
from zasov.notifier.v1.inbound_service_pb2 import InboundPart

from devstack.smsc import Smsc
from devstack.smsc_centre import Delivery
from services.chassis.eventstore import payload_of
from services.chassis.postgres import Database
from services.chassis.sealing import PrivateSeal
from services.chassis.sms_coding import decode
from services.notifier.inbound.sealed import CONTEXT
from services.notifier.inbound.store import InboundStore
from services.notifier.settings import NotifierSettings
from services.notifier.smpp import text as sms
from services.notifier.smpp.codec import Fields, encode

OTHER = "+79160000002"
LONG = "25 " + "Пароль-" * 14  # two parts
LONGER = "25 " + "Секрет!" * 24  # three


async def received(database: Database) -> list[Any]:
    """The facts, in order."""
    rows = await database.fetch("SELECT data FROM event ORDER BY event_id")
    return [payload_of(NotifierEvent.FromString(row["data"])) for row in rows]


async def texts_in(database: Database, private: PrivateSeal) -> list[tuple[str, str]]:
    """Sender and text of each that auth may claim, as auth would read them."""
    rows = await database.fetch(
        "SELECT array_agg(sealed ORDER BY number) AS parts FROM inbound JOIN inbound_part USING (inbound_id)"
        " WHERE state = 'received' GROUP BY inbound_id ORDER BY inbound_id"
    )
    found = []
    for row in rows:
        parts = [InboundPart.FromString(private.open(sealed, CONTEXT)) for sealed in row["parts"]]
        assert len({part.sender for part in parts}) == 1
        found.append((parts[0].sender, decode(b"".join(part.body for part in parts), parts[0].data_coding)))
    return found


def counted(outcome: str) -> float:
    return REGISTRY.get_sample_value("zasov_notifier_inbound_total", {"outcome": outcome}) or 0.0


def parts_of(number: str, to: str, text: str, reference: int) -> list[Fields]:
    """The deliver_sm of a handset's text."""
    split = sms.split(text, reference)
    return [
        {
            "source_addr_ton": 1,
            "source_addr_npi": 1,
            "source_addr": number.removeprefix("+"),
            "destination_addr": to,
            "esm_class": split.esm_class,
            "data_coding": split.data_coding,
            "short_message": body,
        }
        for body in split.bodies
    ]


async def deliver(smsc: Smsc, fields: Fields) -> None:
    """Returns when it is settled: acknowledged, or refused for good."""
    delivery = Delivery(fields, asyncio.Event())
    smsc.centre.put(delivery)
    async with asyncio.timeout(10):
        await delivery.done.wait()


async def status_of(smsc: Smsc, fields: Fields, sequence: int = 0x7000) -> int:
    """What the notifier answers."""
    (session,) = smsc.sessions
    answer = session._answers[sequence] = asyncio.get_running_loop().create_future()
    session.write(encode("deliver_sm", sequence, fields))
    async with asyncio.timeout(10):
        return await answer


@asynccontextmanager
async def held(database_url: str, table: str) -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Nobody can write to the table meanwhile; tells how many wait for that."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")

            async def waiting() -> int:
                count: int = await connection.fetchval(
                    "SELECT count(*) FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database"
                    " WHERE datname = current_database())"
                )
                return count

            yield waiting
    finally:
        await connection.close()


def store_of(settings: NotifierSettings, database: Database, **changes: Any) -> InboundStore:
    chosen = settings.model_copy(update=changes)
    return InboundStore(database, chosen.inbound_rules(), timedelta(seconds=chosen.inbound_lease_s))
