"""The SMSC's control surface: one JSON line in, one out, on loopback alone. `devstack.handsets` is its client."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from devstack.smsc_behaviour import Behaviour
from devstack.smsc_centre import Centre
from devstack.smsc_session import Session
from services.notifier.smpp.text import TextError

Answer = dict[str, Any]


class Control:
    def __init__(self, centre: Centre, sessions: Callable[[], Iterable[Session]]) -> None:
        self._centre = centre
        self._sessions = sessions
        self._operations: dict[str, Callable[..., Awaitable[Answer]]] = {
            "messages": self._messages,
            "wait": self._wait,
            "send": self._send,
            "switch": self._switch,
            "behave": self._behave,
            "reset": self._reset,
            "unbind_all": self._unbind_all,
            "drop_all": self._drop_all,
            "state": self._state,
        }

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request. A client that goes away takes its wait with it."""
        try:
            request = asyncio.ensure_future(self._answer(await reader.readline()))
            gone = asyncio.ensure_future(reader.read(1))
            try:
                await asyncio.wait({request, gone}, return_when=asyncio.FIRST_COMPLETED)
                if request.done():
                    writer.write(json.dumps(request.result()).encode() + b"\n")
                    await writer.drain()
            finally:
                for task in (request, gone):
                    task.cancel()
                await asyncio.gather(request, gone, return_exceptions=True)
        except (OSError, ValueError):
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> Answer:
        try:
            request = json.loads(line)
            operation = self._operations[request.pop("op")]
        except (ValueError, KeyError, AttributeError, TypeError):
            return {"ok": False, "error": f"one of {', '.join(self._operations)} is wanted"}
        try:
            return {"ok": True, **await operation(**request)}
        except (TypeError, ValueError, TextError) as error:
            return {"ok": False, "error": str(error)}

    async def _messages(self, number: str) -> Answer:
        return {"messages": [message.to_json() for message in self._centre.mailbox(number).messages]}

    async def _wait(self, number: str, after: int = 0) -> Answer:
        return {"message": (await self._centre.mailbox(number).wait(after)).to_json()}

    async def _send(self, number: str, to: str, text: str, acknowledged: bool = False, reference: int | None = None) -> Answer:
        deliveries = self._centre.send(number, to, text, reference)
        if acknowledged:
            for delivery in deliveries:
                await delivery.done.wait()
        return {}

    async def _switch(self, number: str, on: bool) -> Answer:
        self._centre.switch(number, on=on)
        return {}

    async def _behave(self, knobs: dict[str, Any]) -> Answer:
        self._centre.behaviour = self._centre.behaviour.changed(knobs)
        return {"behaviour": self._centre.behaviour.to_json()}

    async def _reset(self) -> Answer:
        self._centre.behaviour = Behaviour()
        return {}

    async def _unbind_all(self) -> Answer:
        for session in self._sessions():
            session.unbind()
        return {}

    async def _drop_all(self) -> Answer:
        for session in list(self._sessions()):
            session.drop()
        return {}

    async def _state(self) -> Answer:
        return {
            "links": sum(session.bound for session in self._sessions()),
            "submits": self._centre.submits,
            "held": self._centre.held,
            "undelivered": self._centre.undelivered,
            "behaviour": self._centre.behaviour.to_json(),
        }
