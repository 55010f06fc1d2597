"""The subscribers' mailboxes: read what the dev stack's mail server took for them, and make it misbehave.

One JSON line each way and one connection a call, as with handsets. `MailSink` in the same process needs none of it.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from devstack.control import ControlClient


class MailboxesUnavailable(Exception):
    """The mail server's control address doesn't answer."""


class MailboxesRefused(Exception):
    """The mail server understood, and won't."""


@dataclass(frozen=True, slots=True)
class Mail:
    """One message as it arrived. `index` counts a mailbox's messages from 1; `secured`: it came over TLS."""

    index: int
    to: str = field(repr=False)
    envelope_from: str
    headers: dict[str, str] = field(repr=False)
    text: str = field(repr=False)
    html: str = field(repr=False)
    raw: str = field(repr=False)
    secured: bool
    received_at: datetime

    @property
    def subject(self) -> str:
        return self.headers.get("Subject", "")

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"received_at": self.received_at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Mail":
        known = {name: value[name] for name in (item.name for item in fields(cls))}
        known["received_at"] = datetime.fromisoformat(value["received_at"])
        return cls(**known)


class Mailboxes:
    """The client. Every call raises MailboxesUnavailable when the server is down, and MailboxesRefused when it says no."""

    def __init__(self, control_address: str) -> None:
        self._call = ControlClient(control_address, "mail server", MailboxesUnavailable, MailboxesRefused).call

    async def messages(self, address: str) -> list[Mail]:
        """All that has arrived so far, the oldest first."""
        answer = await self._call("messages", address=address)
        return [Mail.from_json(item) for item in answer["messages"]]

    async def wait(self, address: str, *, after: int = 0, timeout: float = 10.0) -> Mail:
        """The first message with an index over `after`, at its arrival if it isn't there yet. Raises TimeoutError."""
        try:
            async with asyncio.timeout(timeout):
                return Mail.from_json((await self._call("wait", address=address, after=after))["message"])
        except TimeoutError:
            raise TimeoutError(f"no message within {timeout:g} s") from None

    async def set_behaviour(self, **knobs: Any) -> dict[str, Any]:
        """Change how the server behaves (`devstack.mail_sink.MailBehaviour` lists the knobs); the whole of it, after."""
        return dict((await self._call("behave", knobs=knobs))["behaviour"])

    async def reset_behaviour(self) -> None:
        await self._call("reset")
