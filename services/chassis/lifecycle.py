"""A process's life: ready when it says so, drained on SIGTERM with nothing lost, and an HTTP port that tells."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.chassis.settings import ChassisSettings
from services.chassis.telemetry import error_name, logger

# For what a failed role still writes and closes.
_LAST_SECONDS = 5.0


class Lifecycle:
    """Handed to a role by the entry point. The role calls `ready()` and goes on until `stopping()` returns."""

    def __init__(self, *, of_a_process: bool = False) -> None:
        self._of_a_process = of_a_process
        self._stopping = asyncio.Event()
        self._ready = False
        self._failure: BaseException | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    @property
    def is_ready(self) -> bool:
        return self._ready and not self._stopping.is_set()

    @property
    def was_ready(self) -> bool:
        return self._ready

    def ready(self) -> None:
        self._ready = True
        logger().info("ready")

    def stop(self) -> None:
        self._stopping.set()

    async def stopping(self) -> None:
        """Returns at SIGTERM or SIGINT; raises what a background task died of."""
        await self._stopping.wait()
        if self._failure is not None:
            raise self._failure

    def keep_running(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Runs a part of the role in the background. If it ends by an exception, the process ends with it."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def give_up(self) -> None:
        """A part has failed that can't be stopped any more: the process ends within seconds, whatever still waits.

        Not if it is a test's and not the role's own.
        """
        if self._of_a_process:
            timer = threading.Timer(_LAST_SECONDS, _end_at_once)
            timer.daemon = True
            timer.start()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        logger().error("background task died", where=task.get_name(), error=error_name(error))
        self._failure = error
        self._stopping.set()

    async def cancel_background(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def heed_signals(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self.stop)


def _end_at_once() -> None:
    logger().error("died", where="giving up", error="what was left did not end")
    sys.stdout.flush()
    os._exit(1)


def split_address(address: str) -> tuple[str, int]:
    """host:port → (host, port). Raises ValueError."""
    host, _, port = address.rpartition(":")
    return host, int(port)


@asynccontextmanager
async def status_port(settings: ChassisSettings, life: Lifecycle) -> AsyncIterator[None]:
    """HTTP: /live (the loop ticks), /ready, /metrics. It says nothing else, and nothing of anybody."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(5):
                request = await reader.readuntil(b"\r\n\r\n")
                path = request.split(b" ", 2)[1]
                status, kind, body = _respond(path, life)
                head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, IndexError):
            pass  # a prober that hung up or spoke no HTTP
        finally:
            writer.close()

    host, port = split_address(settings.metrics_listen)
    server = await asyncio.start_server(answer, host, port, reuse_port=False)
    try:
        yield
    finally:
        server.close()


def _respond(path: bytes, life: Lifecycle) -> tuple[str, str, bytes]:
    if path == b"/metrics":
        return "200 OK", CONTENT_TYPE_LATEST, generate_latest()
    if path == b"/live" or (path == b"/ready" and life.is_ready):
        return "200 OK", "text/plain", b"ok\n"
    if path == b"/ready":
        return "503 Service Unavailable", "text/plain", b"not ready\n"
    return "404 Not Found", "text/plain", b"not found\n"
