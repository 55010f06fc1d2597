"""The dev stack's mail server as a process, on loopback. `python -m devstack.mail --help`."""

import argparse
import asyncio
import json
import logging
import signal
from pathlib import Path
from typing import Any

from devstack.control import Answer, ControlServer, Operation
from devstack.mail_sink import MailBehaviour, MailSink
from devstack.mail_tls import certificates_in, make_certificates
from devstack.paths import default_state_dir

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class MailControl(ControlServer):
    """`devstack.mailboxes` is its client."""

    def __init__(self, sink: MailSink) -> None:
        self._sink = sink
        operations: dict[str, Operation] = {
            "messages": self._messages,
            "wait": self._wait,
            "behave": self._behave,
            "reset": self._reset,
        }
        super().__init__(operations)

    async def _messages(self, address: str) -> Answer:
        return {"messages": [mail.to_json() for mail in self._sink.messages(address)]}

    async def _wait(self, address: str, after: int = 0) -> Answer:
        return {"message": (await self._sink.wait(address, after)).to_json()}

    async def _behave(self, knobs: dict[str, Any]) -> Answer:
        self._sink.behave(**knobs)
        return {"behaviour": self._sink.behaviour.to_json()}

    async def _reset(self) -> Answer:
        self._sink.behaviour = MailBehaviour()
        return {}


def _loopback(value: str) -> tuple[str, int]:
    host, _, port = value.rpartition(":")
    if host not in _LOOPBACK:
        # The messages hold codes, and the control surface asks nobody who they are.
        raise argparse.ArgumentTypeError("a loopback address is wanted, such as 127.0.0.1:2525")
    return host, int(port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m devstack.mail", description="The dev stack's mail server.")
    parser.add_argument("--listen", type=_loopback, default=("127.0.0.1", 2525), help="for SMTP with STARTTLS")
    parser.add_argument("--control", type=_loopback, default=("127.0.0.1", 2526), help="for mailboxes")
    parser.add_argument("--state-dir", type=Path, default=default_state_dir() / "mail", help="messages, ca.pem")
    return parser.parse_args()


async def _serve(arguments: argparse.Namespace) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    found = certificates_in(arguments.state_dir)
    # Kept over a restart: who trusts them read them when it began.
    certificates = found if found.ca.exists() else make_certificates(arguments.state_dir, host=arguments.listen[0])
    async with MailSink(arguments.listen, certificates.server_context(), state_dir=arguments.state_dir) as sink:
        control = await asyncio.start_server(MailControl(sink).serve, *arguments.control)
        print(json.dumps({"smtp": sink.address}), flush=True)
        await stop.wait()
        control.close()


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    asyncio.run(_serve(_arguments()))


if __name__ == "__main__":
    main()
