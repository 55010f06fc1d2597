"""Where the message with a code is (M11): the notifier's receipts, told so that they tell nothing of who exists.

Each code gives one of three answers away, once its first seconds are over: what was known at their end (docs/adr/0027). For a
message that was never sent it is made up, the same for the same identifier.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias
from uuid import UUID

from zasov.auth.v1.common_pb2 import (
    DELIVERY_STATE_DELIVERED,
    DELIVERY_STATE_NOT_DELIVERED,
    DELIVERY_STATE_UNDERWAY,
    Delivery,
    DeliveryState,
)
from zasov.events.v1.notifier_event_pb2 import CHANNEL_EMAIL
from zasov.events.v1.otp_event_pb2 import OtpPurpose
from zasov.notifier.v1 import notifier_service_pb2 as pb

from services.auth import errors
from services.auth.accounts import Accounts
from services.auth.destinations import Channel
from services.auth.flows import Flows, Sent, Step
from services.auth.identifiers import LookupKey
from services.auth.requests import channel_named
from services.chassis.rpc_clients import call

if TYPE_CHECKING:
    from zasov.notifier.v1.notifier_service_pb2_grpc import NotifierServiceAsyncStub

State: TypeAlias = "DeliveryState.ValueType"
_FINAL = {
    pb.MESSAGE_STATE_DELIVERED: DELIVERY_STATE_DELIVERED,
    pb.MESSAGE_STATE_FAILED: DELIVERY_STATE_NOT_DELIVERED,
    pb.MESSAGE_STATE_VOID: DELIVERY_STATE_NOT_DELIVERED,
}


class Messages:
    """The notifier, as auth sees it."""

    def __init__(self, stub: "NotifierServiceAsyncStub", timeout_s: float) -> None:
        self._stub = stub
        self._timeout_s = timeout_s

    async def state_of(self, challenge_id: UUID, ago: timedelta) -> State:
        """What was known so long ago of the message with that challenge's code. Raises ServiceError: the notifier is away."""
        request = pb.GetDeliveryRequest(cause_stream_id=str(challenge_id), ago_ms=int(ago.total_seconds() * 1000))
        answer: pb.GetDeliveryResponse = await call(self._stub.GetDelivery, request, at_most_s=self._timeout_s)
        if answer.state == pb.MESSAGE_STATE_SUBMITTED and answer.channel == CHANNEL_EMAIL:
            return DELIVERY_STATE_DELIVERED  # there are no receipts for emails
        return _FINAL.get(answer.state, DELIVERY_STATE_UNDERWAY)


@dataclass(frozen=True)
class Deliveries:
    """quiet: how long nothing is told. made_up: by channel (None: left open), the share of identifiers nobody has whose
    message is said to be delivered.
    """

    flows: Flows
    accounts: Accounts
    lookup: LookupKey
    messages: Messages
    quiet: timedelta
    made_up: Mapping[Channel | None, float]

    async def get(self, grant: str, purpose: OtpPurpose.ValueType) -> Delivery:
        """Of the flow's newest code; the grant stays good. Raises ServiceError GRANT_INVALID, or that the notifier is away."""
        flow = await self.flows.find(grant, purpose, Step.CODE_SENT)
        if flow.sent is None:
            raise errors.grant_invalid()
        _, time = await self.accounts.resolve(flow.identifier)
        now, told_from = time.now(), flow.sent.at + self.quiet
        state: State = DELIVERY_STATE_UNDERWAY
        if now >= told_from:
            # Both, whoever it is: for the time that it takes, and to be away for all alike.
            real = await self.messages.state_of(flow.challenge_id, now - told_from)
            decoy = decoy_state(self.lookup.decoy_of(flow.identifier), flow.sent.channel, self.made_up)
            state = real if flow.destination else decoy
        return told(state, now, flow.sent)


def decoy_state(decoy: bytes, channel: Channel | None, shares: Mapping[Channel | None, float]) -> State:
    """The same for the same identifier and channel. decoy: of `LookupKey.decoy_of`."""
    drawn = hashlib.sha256(b"delivery:" + (channel or "").encode() + b":" + decoy).digest()
    delivered = int.from_bytes(drawn[:8], "big") < shares[channel] * 2**64
    return DELIVERY_STATE_DELIVERED if delivered else DELIVERY_STATE_UNDERWAY


def told(state: State, now: datetime, sent: Sent) -> Delivery:
    """The answer. What is underway when its code is over arrives no more (M10)."""
    if state == DELIVERY_STATE_UNDERWAY and now >= sent.expires_at:
        state = DELIVERY_STATE_NOT_DELIVERED
    delivery = Delivery(state=state, channel=channel_named(sent.channel))
    delivery.expires_at.FromDatetime(sent.expires_at)
    delivery.ask_again_at.FromDatetime(sent.ask_again_at)
    return delivery
