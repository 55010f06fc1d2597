"""The notifier's server as in production, for tests of where a message is; what its worker does is done by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import asyncpg

import services.chassis
import services.notifier.roles
import tests.integration.stateful
from devstack.waiting import free_port
from services.chassis.postgres import Database, open_database
from services.notifier import domain
from services.notifier.domain import ChannelId, Kind, PartState, Wanted
from services.notifier.limits.store import SendingLimits
from services.notifier.settings import NotifierSettings
from services.notifier.store import Leased, Store
from tests.integration.auth.borrowed import borrowed_urls
from tests.integration.auth.emails import challenge_of
from tests.integration.auth.suite import Suite, running
from tests.integration.databases import Databases

# So long that whatever a test does first is within it, on any machine; clocks are moved to its end.
QUIET_S = 60.0


@dataclass
class Notifier:
    address: str
    store: Store
    database: Database

    async def submit(self, suite: Suite, grant: str, channel: ChannelId = ChannelId.SMS) -> str:
        """The code's message goes on the wire. Returns the SMSC's id of it."""
        leased = await self._claimed(suite, grant, channel)
        smsc_id = uuid4().hex
        assert await self.store.settle_submitted(leased, "smsc", [smsc_id])
        return smsc_id

    async def deliver(self, suite: Suite, grant: str) -> None:
        assert await self.store.receive("smsc", await self.submit(suite, grant), PartState.DELIVERED)

    async def refuse(self, suite: Suite, grant: str) -> None:
        leased = await self._claimed(suite, grant, ChannelId.SMS)
        assert await self.store.settle(leased, domain.refused(leased.message, 11))

    async def _claimed(self, suite: Suite, grant: str, channel: ChannelId) -> Leased:
        challenge, now = await challenge_of(suite, grant), datetime.now(UTC)
        wanted = Wanted(uuid4(), challenge, Kind.CODE, now, now + timedelta(minutes=5))
        leased = await self.store.accept("test", challenge, 1, wanted, mine=True)
        assert leased is not None
        begun = await self.store.begin(replace(leased, message=domain.claimed(leased.message, channel)), to=None)
        assert begun is not None
        return begun


@asynccontextmanager
async def notifying(databases: Databases) -> AsyncIterator[Notifier]:
    with databases.borrowed(services.chassis, services.notifier, tests.integration.stateful) as url:
        await _set_clock(url)
        settings = NotifierSettings(postgres_url=url, listen=f"127.0.0.1:{free_port()}")
        async with running(services.notifier.roles.server, settings), open_database(settings) as database:
            limits = SendingLimits({}, bytes(32), range_digits=4, home=())
            yield Notifier(settings.listen, Store(database, settings.policy(), timedelta(seconds=30), limits), database)


@asynccontextmanager
async def urls_with_a_clock(databases: Databases) -> AsyncIterator[dict[str, str]]:
    """Of databases whose clocks can be moved."""
    with borrowed_urls(databases, tests.integration.stateful) as urls:
        for url in urls.values():
            await _set_clock(url)
        yield urls


async def after_the_quiet(suite: Suite) -> None:
    """The first seconds of all that was sent so far are over."""
    assert suite.notifier
    for database in (suite.sql, suite.notifier.database):
        await database.execute("UPDATE clock.ahead SET by = by + make_interval(secs => $1)", QUIET_S)


async def _set_clock(url: str) -> None:
    """Another test may have moved it."""
    sql = await asyncpg.connect(url)
    await sql.execute("UPDATE clock.ahead SET by = '0'")
    await sql.close()
