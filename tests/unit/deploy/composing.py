"""A role's composition root, run as far as the role's parts go, with nothing there that it would talk to."""

import asyncio
import importlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock, patch

from devstack.staff import make_staff_keys
from services.chassis.lifecycle import Lifecycle
from services.chassis.settings import ChassisSettings
from services.chassis.streams import Consumer
from services.lockout.penalties import PenaltyStore
from services.lockout.settings import LockoutSettings
from services.lockout.store import LockoutStore
from services.lockout.stream import limits_app, outcomes_app

_ANYWHERE, _NOWHERE = "127.0.0.1:0", "127.0.0.1:1"


class _Stopped(Lifecycle):
    """A role that is told to stop as soon as it stands: nothing runs in its background."""

    def __init__(self) -> None:
        super().__init__()
        self.stop()

    def keep_running(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        work.close()
        return super().keep_running(_nothing(), name)


async def compose(service: str, role: str, settings: ChassisSettings, keys: Path) -> set[str]:
    """Returns the topics that it reads. keys: the folder of those that it is given, which gets those that an overlay of the
    operator's would add. Raises CannotStart.
    """
    make_staff_keys(keys)
    changed: dict[str, Any] = {name: _NOWHERE for name, value in settings if name.endswith("_address") and value}
    changed |= {"keys_dir": keys, "listen": _ANYWHERE, "health_listen": _ANYWHERE, "drain_delay_s": 0.0}
    if service == "auth":
        changed |= {"office_recovery": True}
    read: set[str] = set()

    def consume(consumer: Consumer, _: Lifecycle) -> Coroutine[Any, Any, None]:
        read.update(consumer.handlers, filter(None, [consumer.retries]))
        return _nothing()

    async def stream(settings: LockoutSettings, _: Lifecycle, store: LockoutStore, penalties: PenaltyStore) -> None:
        for app in (outcomes_app(settings, store, str(keys)), limits_app(settings, penalties, str(keys), store.beat)):
            read.update(topic for agent in app.agents.values() for topic in agent.channel.topics)
            read.update(table.changelog_topic_name for table in app.tables.values())

    run = getattr(importlib.import_module(f"services.{service}.roles"), role)
    with (
        patch("asyncpg.create_pool", AsyncMock()),
        patch("services.chassis.streams.Consumer.run", consume),
        patch("services.lockout.roles.run_stream", stream),
    ):
        await run(settings.model_copy(update=changed), _Stopped())
    return read


async def _nothing() -> None:
    pass
