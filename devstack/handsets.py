"""The subscribers' handsets: read what the dev stack's SMSC delivered to them, and send from them.

`Handsets` speaks to the SMSC's control address, one JSON line each way and one connection a call. Numbers may be
written in any way that keeps their digits (`+7 916 …` and `7916…` are one handset).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

from devstack.control import ControlClient


class HandsetsUnavailable(Exception):
    """The SMSC's control address doesn't answer."""


class HandsetsRefused(Exception):
    """The SMSC understood, and won't."""


@dataclass(frozen=True, slots=True)
class HandsetMessage:
    """One text as the subscriber sees it: parts joined, header gone.

    `index` counts a handset's messages from 1; `validity_period` is what the submit_sm said (SMPP 3.4 section 7.1.1).
    """

    index: int
    number: str = field(repr=False)
    source: str
    text: str = field(repr=False)
    received_at: datetime
    validity_period: str
    message_ids: tuple[str, ...]
    parts: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"received_at": self.received_at.isoformat()}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "HandsetMessage":
        known = {name: value[name] for name in (item.name for item in fields(cls))}
        known["received_at"] = datetime.fromisoformat(value["received_at"])
        known["message_ids"] = tuple(value["message_ids"])
        return cls(**known)


def digits_of(number: str) -> str:
    """A handset's key: the digits of its number."""
    return "".join(char for char in number if char in "0123456789")


class Handsets:
    """The client. Every call raises HandsetsUnavailable when the SMSC is down, and HandsetsRefused when it says no."""

    def __init__(self, control_address: str) -> None:
        self._call = ControlClient(control_address, "SMSC", HandsetsUnavailable, HandsetsRefused).call

    async def messages(self, number: str) -> list[HandsetMessage]:
        """All that has arrived so far, the oldest first."""
        answer = await self._call("messages", number=number)
        return [HandsetMessage.from_json(item) for item in answer["messages"]]

    async def wait(self, number: str, *, after: int = 0, timeout: float = 10.0) -> HandsetMessage:
        """The first message with an index over `after`, at its arrival if it isn't there yet. Raises TimeoutError."""
        try:
            async with asyncio.timeout(timeout):
                return HandsetMessage.from_json((await self._call("wait", number=number, after=after))["message"])
        except TimeoutError:
            raise TimeoutError(f"no message within {timeout:g} s") from None

    async def send(self, number: str, to: str, text: str, *, acknowledged: bool = False, reference: int | None = None) -> None:
        """Send a text from the handset. The SMSC keeps it until the application has acknowledged it, and with
        `acknowledged` this call waits for just that. `reference` fixes the concatenation reference of a long text.
        """
        await self._call("send", number=number, to=to, text=text, acknowledged=acknowledged, reference=reference)

    async def switch(self, number: str, *, on: bool) -> None:
        """Switch a handset off (messages are held until they expire) or on (what is held arrives)."""
        await self._call("switch", number=number, on=on)

    async def set_behaviour(self, **knobs: Any) -> dict[str, Any]:
        """Change how the SMSC behaves (`devstack.smsc_behaviour.Behaviour` lists the knobs); the whole of it, after."""
        answer = await self._call("behave", knobs=knobs)
        return dict(answer["behaviour"])

    async def reset_behaviour(self) -> None:
        """Back to an obedient SMSC."""
        await self._call("reset")

    async def unbind_all(self) -> None:
        """Make the SMSC unbind every application, politely."""
        await self._call("unbind_all")

    async def drop_all(self) -> None:
        """Cut every application's connection, as a crash would."""
        await self._call("drop_all")

    async def state(self) -> dict[str, Any]:
        """Counts: `links`, `submits`, `held`, `undelivered` (waiting for the application), `behaviour`."""
        return await self._call("state")


class HandsetsSync:
    """The same for callers without an event loop."""

    def __init__(self, control_address: str) -> None:
        self._handsets = Handsets(control_address)

    def messages(self, number: str) -> list[HandsetMessage]:
        return asyncio.run(self._handsets.messages(number))

    def wait(self, number: str, *, after: int = 0, timeout: float = 10.0) -> HandsetMessage:
        return asyncio.run(self._handsets.wait(number, after=after, timeout=timeout))

    def send(self, number: str, to: str, text: str, *, acknowledged: bool = False) -> None:
        asyncio.run(self._handsets.send(number, to, text, acknowledged=acknowledged))

    def switch(self, number: str, *, on: bool) -> None:
        asyncio.run(self._handsets.switch(number, on=on))

    def set_behaviour(self, **knobs: Any) -> dict[str, Any]:
        return asyncio.run(self._handsets.set_behaviour(**knobs))

    def state(self) -> dict[str, Any]:
        return asyncio.run(self._handsets.state())
