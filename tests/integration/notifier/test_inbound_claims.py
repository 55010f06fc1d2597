"""What auth gets of a text: over the `server` role, with auth's own client; and a text that waited for the database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from devstack.handsets import Handsets
from devstack.smsc import Smsc
from devstack.waiting import free_port
from services.auth.identifiers import Phone
from services.auth.settings import AuthSettings
from services.auth.texts.inbound import INBOUND_CLAIMED, INBOUND_VOID, InboundTexts, open_inbound_texts
from services.chassis.errors import ServiceError
from services.chassis.lifecycle import Lifecycle, split_address
from services.chassis.postgres import Database, open_database
from services.chassis.sealing import PrivateSeal
from services.notifier import roles
from services.notifier.domain import ChannelId
from services.notifier.settings import NotifierSettings
from services.notifier.templates import Templates
from tests.integration.notifier.conftest import PHONE, Notifier, until
from tests.integration.notifier.inbound import LONG, deliver, parts_of, received, store_of, texts_in
from tests.integration.notifier.test_worker_role import running

pytestmark = [pytest.mark.row("M6"), pytest.mark.row("B3")]


@pytest.fixture
def served(settings: NotifierSettings) -> NotifierSettings:
    ports = {name: f"127.0.0.1:{free_port()}" for name in ("listen", "health_listen")}
    return settings.model_copy(update=ports)


@pytest.fixture
async def texts(
    served: NotifierSettings, database: Database, notifier: Notifier, keys_dir: Path
) -> AsyncIterator[InboundTexts]:
    auth = AuthSettings(postgres_url="unused", notifier_address=served.listen, keys_dir=keys_dir)
    async with running(served, "server"), open_inbound_texts(auth) as opened:
        yield opened


@asynccontextmanager
async def another_worker(served: NotifierSettings, keys_dir: Path) -> AsyncIterator[InboundTexts]:
    auth = AuthSettings(postgres_url="unused", notifier_address=served.listen, keys_dir=keys_dir)
    async with open_inbound_texts(auth) as opened:
        yield opened


async def stream_of(database: Database) -> UUID:
    """As the SmsReceived in Kafka names it."""
    found: UUID = await database.fetch_value("SELECT stream_id FROM event ORDER BY event_id DESC LIMIT 1")
    return found


async def reason_of(work: Any) -> str:
    with pytest.raises(ServiceError) as met:
        await work
    return met.value.reason


async def test_a_text_is_claimed_as_it_was_sent_and_is_gone_once_reported(
    texts: InboundTexts, database: Database, smsc: Smsc
) -> None:
    for part in reversed(parts_of(PHONE, "111", LONG, 9)):
        await deliver(smsc, part)
    inbound_id = await stream_of(database)
    for _ in range(2):
        claimed = await texts.claim(inbound_id)
        assert (claimed.sender, claimed.destination, claimed.text) == (Phone(PHONE), "111", LONG)
    assert await database.fetch_value("SELECT count(*) FROM inbound_part WHERE sealed IS NOT NULL") == 2
    for _ in range(2):
        await texts.report(inbound_id)
        assert await database.fetch_value("SELECT count(*) FROM inbound_part WHERE sealed IS NOT NULL") == 0
        assert await reason_of(texts.claim(inbound_id)) == INBOUND_VOID


async def test_a_text_is_one_workers_until_its_lease_is_over(
    texts: InboundTexts, database: Database, handsets: Handsets, served: NotifierSettings, keys_dir: Path
) -> None:
    await handsets.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True)
    inbound_id = await stream_of(database)
    await texts.claim(inbound_id)
    async with another_worker(served, keys_dir) as other:
        with pytest.raises(ServiceError) as met:
            await other.claim(inbound_id)
        assert met.value.reason == INBOUND_CLAIMED
        assert met.value.retry_after is not None
        assert timedelta(seconds=10) < met.value.retry_after <= timedelta(seconds=served.inbound_lease_s)
        await database.execute("UPDATE inbound SET lease_until = clock_timestamp()")
        assert (await other.claim(inbound_id)).text == "ПАРОЛЬ"
        assert await reason_of(texts.claim(inbound_id)) == INBOUND_CLAIMED


async def test_a_text_that_nobody_acted_on_in_time_is_void_and_removed(
    texts: InboundTexts, database: Database, handsets: Handsets, settings: NotifierSettings
) -> None:
    await handsets.send(PHONE, "111", "25 secret", acknowledged=True)
    inbound_id = await stream_of(database)
    await database.execute("UPDATE inbound SET expires_at = clock_timestamp()")
    assert await reason_of(texts.claim(inbound_id)) == INBOUND_VOID
    assert (await store_of(settings, database).tidy()).expired == 1
    assert await database.fetch_value("SELECT count(*) FROM inbound_part") == 0


async def test_a_text_that_is_not_whole_or_never_was_is_void(texts: InboundTexts, database: Database, smsc: Smsc) -> None:
    await deliver(smsc, parts_of(PHONE, "111", LONG, 9)[0])
    gathering = await database.fetch_value("SELECT inbound_id FROM inbound")
    for inbound_id in (gathering, uuid4()):
        assert await reason_of(texts.claim(inbound_id)) == INBOUND_VOID
        await texts.report(inbound_id)
    assert await database.fetch_value("SELECT count(*) FROM inbound_part WHERE sealed IS NOT NULL") == 1


@pytest.mark.row("B2")
async def test_what_recognises_a_repetition_is_forgotten_when_it_could_be_none(
    texts: InboundTexts, database: Database, handsets: Handsets, settings: NotifierSettings
) -> None:
    store = store_of(settings, database)
    await handsets.send(PHONE, "111", "25 secret", acknowledged=True)
    await store.tidy()
    assert await database.fetch_value("SELECT count(*) FROM inbound_part WHERE digest IS NOT NULL") == 1
    await database.execute("UPDATE inbound_part SET received_at = received_at - interval '61 seconds'")
    await store.tidy()
    assert await database.fetch_value("SELECT count(*) FROM inbound_part WHERE digest IS NOT NULL") == 0
    inbound_id = await stream_of(database)
    assert (await texts.claim(inbound_id)).text == "25 secret", "it waits for auth all the same"
    await texts.report(inbound_id)
    await database.execute("UPDATE inbound SET completed_at = completed_at - interval '61 seconds'")
    await database.execute("UPDATE inbound_sender SET texts = ARRAY[clock_timestamp() - interval '24 hours']")
    await store.tidy()
    for table in ("inbound", "inbound_part", "inbound_sender"):
        assert await database.fetch_value(f"SELECT count(*) FROM {table}") == 0


class Wire:
    """Between the notifier and its database; `cut` and `mend` it."""

    def __init__(self, url: str) -> None:
        self.port = free_port()
        head, _, rest = url.rpartition("@")
        address, _, name = rest.partition("/")
        self._to = split_address(address)
        self.url = f"{head}@127.0.0.1:{self.port}/{name}"
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def mend(self) -> None:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", self.port)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._to)
        self._writers |= {writer, there_writer}
        await asyncio.gather(_pump(reader, there_writer), _pump(there_reader, writer))
        self._writers -= {writer, there_writer}


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def test_while_the_database_is_away_the_smsc_tries_again_and_the_text_is_stored_once(
    handsets: Handsets, settings: NotifierSettings, database: Database, private: PrivateSeal
) -> None:
    await handsets.set_behaviour(retry_s=0.05)
    wire = Wire(settings.postgres_url)
    await wire.mend()
    distant = settings.model_copy(update={"postgres_url": wire.url})
    async with (
        open_database(distant) as carried,
        roles.dispatching(distant, Lifecycle(), carried, Templates()) as (_, dispatcher),
    ):
        await until(lambda: dispatcher.can_send)
        sms: Any = dispatcher._channels[ChannelId.SMS]
        await wire.cut()
        sending = asyncio.ensure_future(handsets.send(PHONE, "3339", "ПАРОЛЬ", acknowledged=True))
        await until(lambda: sms._smscs[0].client.counters.deliveries_put_off >= 2)
        assert not sending.done()
        assert await received(database) == []
        await wire.mend()
        await asyncio.wait_for(sending, 15)
    await wire.cut()
    assert await texts_in(database, private) == [(PHONE, "ПАРОЛЬ")]
    assert len(await received(database)) == 1
