"""What Faust is told, the same for each of lockout's apps; why, in docs/adr/0005 and 0014."""

import asyncio
from collections.abc import Mapping
from typing import Any

import faust
from faust.tables.manager import TableManager
from faust.tables.recovery import RebalanceAgain, Recovery
from faust.types import TP

from services.lockout.settings import LockoutSettings


class _Recovery(Recovery):  # type: ignore[misc]
    """Faust's (0.15.3), mended in two places."""

    async def on_recovery_completed(self, generation_id: int = 0) -> None:
        """Nothing is handed out while it seeks to where the streams had got to.

        To read the changelog it has turned the flow on, and when the table is there it turns it on again, which empties the
        queues of the streams. What was put into them between its seek and that was seen by no stream and acknowledged by none:
        a partition then committed nothing more until the next rebalance.
        """
        self.app.consumer.stop_flow()
        self.app.flow_control.suspend()
        await super().on_recovery_completed(generation_id)

    async def _seek_offsets(self, consumer: Any, tps: set[TP], offsets: Mapping[TP, int | None], title: str) -> None:
        """A rebalance that overtakes a recovery leaves partitions without an offset: it begins anew, and the app goes on."""
        if any(offsets[tp] is None for tp in tps):
            raise RebalanceAgain
        await super()._seek_offsets(consumer, tps, offsets, title)


class _Tables(TableManager):  # type: ignore[misc]
    _recovery: Recovery | None

    @property
    def recovery(self) -> Recovery:
        if self._recovery is None:
            self._recovery = _Recovery(self.app, self, beacon=self.beacon, loop=self.loop)
        return self._recovery


def new_app(settings: LockoutSettings, app_id: str, folder: str) -> "faust.App":
    """An app that serves nothing to the world, creates no topics, and waits for nothing for ever."""
    app = faust.App(
        settings.topic_prefix + app_id,
        broker=[f"kafka://{address}" for address in settings.kafka_bootstrap.split(",")],
        datadir=folder,
        store="memory://",
        TableManager=_Tables,
        web_enabled=False,
        loop=asyncio.get_running_loop(),
        topic_allow_declare=False,
        topic_disable_leader=True,
        topic_partitions=settings.stream_partitions,
        broker_session_timeout=settings.stream_session_timeout_s,
        broker_heartbeat_interval=settings.stream_session_timeout_s / 3,
        broker_request_timeout=max(20.0, settings.stream_session_timeout_s),
        broker_max_poll_interval=120.0,
        broker_commit_interval=0.5,
        producer_request_timeout=30.0,
        producer_acks=-1,
        stream_buffer_maxsize=256,
        # A batch that waits for PostgreSQL must hold up neither a rebalance nor the end: it comes again, and has one effect.
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
    )
    # The setting above alone does not keep Faust from serving /table to the world.
    app.boot_strategy.enable_web = False
    return app


def raw_topic(app: "faust.App", settings: LockoutSettings, name: str) -> Any:
    """Raw bytes: Faust's own decoding acknowledges a record before it throws, so we parse under our own guard."""
    return app.topic(
        settings.topic_prefix + name, key_serializer="raw", value_serializer="raw", partitions=settings.stream_partitions
    )
