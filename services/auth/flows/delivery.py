"""Where the message with a code is (M11): the notifier's receipts, told so that they tell nothing of who exists.

Each code gives one of three answers away, once its first seconds are over: what was known at their end (docs/adr/0025). For a
message that was never sent it is made up: for as many as of those that were sent, and the same for the same identifier.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias, cast
from uuid import UUID

from zasov.auth.v1.common_pb2 import (
    DELIVERY_STATE_DELIVERED,
    DELIVERY_STATE_NOT_DELIVERED,
    DELIVERY_STATE_UNDERWAY,
    Delivery,
    DeliveryState,
)
from zasov.events.v1.notifier_event_pb2 import CHANNEL_EMAIL, CHANNEL_SMS
from zasov.events.v1.otp_event_pb2 import OtpPurpose
from zasov.notifier.v1 import notifier_service_pb2 as pb

from services.auth import errors
from services.auth.accounts import Accounts
from services.auth.contacts.destinations import Channel
from services.auth.flows.store import Flows, Sent, Step
from services.auth.identifiers import LookupKey
from services.auth.requests import channel_named
from services.chassis.rpc_clients import call

if TYPE_CHECKING:
    from zasov.notifier.v1.notifier_service_pb2_grpc import NotifierServiceAsyncStub

# Recent messages that say how many arrive.
_ENOUGH = 10
State: TypeAlias = "DeliveryState.ValueType"
_FINAL = {
    pb.MESSAGE_STATE_DELIVERED: DELIVERY_STATE_DELIVERED,
    pb.MESSAGE_STATE_FAILED: DELIVERY_STATE_NOT_DELIVERED,
    pb.MESSAGE_STATE_VOID: DELIVERY_STATE_NOT_DELIVERED,
}


@dataclass(frozen=True, slots=True)
class Fate:
    """What was known of a message at the end of its first seconds; and of how many recent ones by that channel, how many had
    arrived at the end of theirs.
    """

    state: State
    recent: int
    arrived: int


class Messages:
    """The notifier, as auth sees it."""

    def __init__(self, stub: "NotifierServiceAsyncStub", timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def fate_of(self, challenge_id: UUID, ago: timedelta, within: timedelta, channel: Channel | None) -> Fate:
        """Of the message with that challenge's code, so long ago. within: of the recent ones. Raises ServiceError: the notifier
        is away.
        """
        request = pb.GetDeliveryRequest(
            cause_stream_id=str(challenge_id),
            ago_ms=_ms(ago),
            within_ms=_ms(within),
            recent_channel=CHANNEL_EMAIL if channel is Channel.EMAIL else CHANNEL_SMS,
        )
        answer: pb.GetDeliveryResponse = await call(self._stub.GetDelivery, request, at_most_s=self._timeout_s)
        state = _FINAL.get(answer.state, DELIVERY_STATE_UNDERWAY)
        if answer.state == pb.MESSAGE_STATE_SUBMITTED and answer.channel == CHANNEL_EMAIL:
            state = DELIVERY_STATE_DELIVERED  # there are no receipts for emails
        return Fate(state, answer.recent, answer.recent_arrived)


@dataclass(frozen=True)
class Deliveries:
    """quiet: how long nothing is told. usual: by channel (None: left open), the share of codes that arrive within it, for want
    of recent ones to go by.
    """

    flows: Flows
    accounts: Accounts
    lookup: LookupKey
    messages: Messages
    quiet: timedelta
    usual: Mapping[Channel | None, float]

    async def get(self, grant: str, *purposes: OtpPurpose.ValueType) -> Delivery:
        """Of the flow's newest code; the grant stays good. Raises ServiceError GRANT_INVALID, or that the notifier is away."""
        flow = await self.flows.find_of_any(grant, purposes, Step.CODE_SENT)
        if flow.sent is None:
            raise errors.grant_invalid()
        _, time = await self.accounts.resolve(flow.identifier)
        now, told_from = time.now(), flow.sent.at + self.quiet
        state = cast("State", flow.sent.told)
        if not state and now >= told_from:
            # Both, whoever it is: for the time that it takes, and to be away for all alike.
            channel = flow.sent.channel
            fate = await self.messages.fate_of(flow.challenge_id, now - told_from, self.quiet, channel)
            decoy = decoy_state(self.lookup.decoy_of(flow.identifier), channel, share_of(fate, self.usual[channel]))
            state = cast("State", await self.flows.tell(flow, grant, decoy if flow.is_decoy else fate.state))
        return told(state or DELIVERY_STATE_UNDERWAY, now, flow.sent)


def share_of(fate: Fate, usual: float) -> float:
    """Of the messages of these minutes, how many arrive: with the SMSC away, none does that is made up either."""
    return fate.arrived / fate.recent if fate.recent >= _ENOUGH else usual


def decoy_state(decoy: bytes, channel: Channel | None, share: float) -> State:
    """Delivered for that share of identifiers, the same ones by the same channel. decoy: of `LookupKey.decoy_of`."""
    drawn = hashlib.sha256(b"delivery:" + (channel or "").encode() + b":" + decoy).digest()
    return DELIVERY_STATE_DELIVERED if int.from_bytes(drawn[:8], "big") < share * 2**64 else DELIVERY_STATE_UNDERWAY


def told(state: State, now: datetime, sent: Sent) -> Delivery:
    """The answer. What is underway when its code is over arrives no more (M10)."""
    if state == DELIVERY_STATE_UNDERWAY and now >= sent.expires_at:
        state = DELIVERY_STATE_NOT_DELIVERED
    delivery = Delivery(state=state, channel=channel_named(sent.channel))
    delivery.expires_at.FromDatetime(sent.expires_at)
    delivery.ask_again_at.FromDatetime(sent.ask_again_at)
    return delivery


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)
