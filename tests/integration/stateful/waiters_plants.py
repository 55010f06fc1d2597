"""What is taken out of telling where a message is, for planted.py."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from zasov.auth.v1.common_pb2 import DELIVERY_STATE_UNDERWAY

import services.auth.flows.delivery
from services.auth.flows.delivery import Deliveries, Messages
from services.auth.flows.store import Flow, Flows


def told_in_the_first_seconds(patch: pytest.MonkeyPatch) -> None:
    get = Deliveries.get

    async def got(self: Deliveries, *arguments: Any) -> Any:
        return await get(replace(self, quiet=timedelta(0)), *arguments)

    patch.setattr(Deliveries, "get", got)


def what_comes_later_is_told(patch: pytest.MonkeyPatch) -> None:
    fate_of = Messages.fate_of

    async def fate(self: Messages, challenge_id: Any, _: timedelta, *rest: Any) -> Any:
        return await fate_of(self, challenge_id, timedelta(0), *rest)

    patch.setattr(Messages, "fate_of", fate)


def another_answer_each_time(patch: pytest.MonkeyPatch) -> None:
    """What was told is not kept."""

    async def tell(self: Flows, flow: Flow, grant: str, told: int) -> int:
        return told

    patch.setattr(Flows, "tell", tell)
    what_comes_later_is_told(patch)


def nobodys_never_arrives(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(services.auth.flows.delivery, "decoy_state", lambda *_: DELIVERY_STATE_UNDERWAY)


def underway_for_ever(patch: pytest.MonkeyPatch) -> None:
    told = services.auth.flows.delivery.told
    patch.setattr(services.auth.flows.delivery, "told", lambda state, _, sent: told(state, sent.at, sent))


def the_older_codes_message(patch: pytest.MonkeyPatch) -> None:
    """Another code leaves what was told as it was."""
    advance = Flows.advance

    async def advanced(self: Flows, flow: Flow, grant: str, step: Any, changed: Flow | None = None) -> Any:
        if changed and changed.sent and flow.sent:
            changed = replace(changed, sent=replace(changed.sent, at=flow.sent.at, told=flow.sent.told))
        return await advance(self, flow, grant, step, changed)

    patch.setattr(Flows, "advance", advanced)
