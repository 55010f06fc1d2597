"""An SMSC for the dev stack and for tests, SMPP 3.4 over loopback. `python -m devstack.smsc --help`."""

import argparse
import asyncio
import json
import logging
import signal
from pathlib import Path
from types import TracebackType
from typing import Self

from devstack.paths import default_state_dir
from devstack.smsc_centre import Centre
from devstack.smsc_control import Control
from devstack.smsc_session import Session

Address = tuple[str, int]


class Smsc:
    """An async context manager: listening inside, gone outside. Port 0 takes a free one; the addresses tell which."""

    def __init__(self, *, listen: Address, control: Address, state_dir: Path, system_id: str, password: str) -> None:
        self.centre = Centre(state_dir)
        self.sessions: set[Session] = set()
        self._listen, self._control_at = listen, control
        self._system_id, self._password = system_id, password
        self._control = Control(self.centre, lambda: self.sessions)
        self._servers: list[asyncio.Server] = []
        self._connections: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        self._servers.append(await asyncio.start_server(self._serve_application, *self._listen))
        self._servers.append(await asyncio.start_server(self._serve_control, *self._control_at))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        # Cut, not cancelled: Python 3.11 reports a cancelled connection task as an error.
        for writer in self._connections.values():
            writer.transport.abort()
        await asyncio.gather(*self._connections, return_exceptions=True)

    @property
    def address(self) -> Address:
        return _address_of(self._servers[0])

    @property
    def control_address(self) -> str:
        host, port = _address_of(self._servers[1])
        return f"{host}:{port}"

    async def _serve_application(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = Session(reader, writer, self.centre, self._system_id, self._password)
        self.sessions.add(session)
        self._track(writer)
        try:
            await session.run()
        finally:
            self.sessions.discard(session)

    async def _serve_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._track(writer)
        await self._control.serve(reader, writer)

    def _track(self, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections[task] = writer
        task.add_done_callback(self._connections.pop)


def _address_of(server: asyncio.Server) -> Address:
    host, port = server.sockets[0].getsockname()[:2]
    return host, port


def _loopback(value: str) -> Address:
    host, _, port = value.rpartition(":")
    if host not in ("127.0.0.1", "localhost", "::1"):
        # The texts hold codes and passwords, and the control surface asks nobody who they are.
        raise argparse.ArgumentTypeError("a loopback address is wanted, such as 127.0.0.1:2775")
    return host, int(port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devstack.smsc", description="The dev stack's SMSC.")
    parser.add_argument("--listen", type=_loopback, default=("127.0.0.1", 2775), help="for SMPP 3.4")
    parser.add_argument("--control", type=_loopback, default=("127.0.0.1", 2776), help="for handsets")
    parser.add_argument("--state-dir", type=Path, default=default_state_dir() / "smsc", help="a JSONL file a handset")
    parser.add_argument("--system-id", default="zasov")
    parser.add_argument("--password", default="devstack", help="up to 8 characters")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Smsc(
        listen=arguments.listen,
        control=arguments.control,
        state_dir=arguments.state_dir,
        system_id=arguments.system_id,
        password=arguments.password,
    ) as smsc:
        host, port = smsc.address
        # One line for whoever started it: ready, and where.
        print(json.dumps({"smpp": f"{host}:{port}", "control": smsc.control_address}), flush=True)
        await stop.wait()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    arguments = _arguments()
    if len(arguments.password) > 8 or len(arguments.system_id) > 15:
        raise SystemExit("SMPP allows a system id of 15 characters and a password of 8")
    asyncio.run(_serve(arguments))


if __name__ == "__main__":
    main()
