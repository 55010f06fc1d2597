"""Ends challenges whose time is over, so that their codes and destinations do not lie about.

No check depends on it: an expired code is refused by its time, swept or not.
"""

import asyncio

from services.chassis.lifecycle import Lifecycle
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import AWAY, Connection, connect_directly, until_reachable
from services.chassis.telemetry import error_name, logger
from services.otp import store
from services.otp.challenges import lapse
from services.otp.settings import OtpSettings

_ONLY_ONE = "zasov otp expiry sweep"


async def sweep_for_ever(settings: OtpSettings, waker: OutboxWaker) -> None:
    """One process at a time: the lock goes with the connection, so whoever dies makes room."""
    while True:
        connection = await until_reachable("postgres", lambda: connect_directly(settings))
        try:
            while not await connection.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", _ONLY_ONE):  # noqa: ASYNC110
                await asyncio.sleep(settings.sweep_interval_s)
            while True:
                ended = await sweep_once(connection, settings.sweep_batch)
                if ended:
                    waker.wake()
                if ended < settings.sweep_batch:
                    await store.forget_sprays(connection, settings.brake().issued_window)
                    await asyncio.sleep(settings.sweep_interval_s)
        except AWAY as error:
            logger().warning("sweep starts anew", error=error_name(error))
            await asyncio.sleep(settings.sweep_interval_s)
        finally:
            connection.terminate()


async def sweep_once(connection: Connection, batch: int) -> int:
    """Returns how many challenges were ended."""
    async with connection.transaction():
        now, rows = await store.lock_lapsed(connection, batch)
        changes = [change for row in rows if (change := lapse(row, now)) is not None]
        if changes:
            await store.append_all(connection, changes)
    return len(changes)


def start(life: Lifecycle, settings: OtpSettings, waker: OutboxWaker) -> None:
    life.keep_running(sweep_for_ever(settings, waker), "expiry sweep")
