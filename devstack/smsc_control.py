"""The SMSC's control surface. `devstack.handsets` is its client."""

from collections.abc import Callable, Iterable
from typing import Any

from devstack.control import Answer, ControlServer, Operation
from devstack.smsc_behaviour import Behaviour
from devstack.smsc_centre import Centre
from devstack.smsc_session import Session
from services.notifier.smpp.text import TextError


class Control(ControlServer):
    def __init__(self, centre: Centre, sessions: Callable[[], Iterable[Session]]) -> None:
        self._centre = centre
        self._sessions = sessions
        operations: dict[str, Operation] = {
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
        super().__init__(operations)

    async def _messages(self, number: str) -> Answer:
        return {"messages": [message.to_json() for message in self._centre.mailbox(number).messages]}

    async def _wait(self, number: str, after: int = 0) -> Answer:
        return {"message": (await self._centre.mailbox(number).wait(after)).to_json()}

    async def _send(self, number: str, to: str, text: str, acknowledged: bool = False, reference: int | None = None) -> Answer:
        try:
            deliveries = self._centre.send(number, to, text, reference)
        except TextError as error:
            raise ValueError(str(error)) from None
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
