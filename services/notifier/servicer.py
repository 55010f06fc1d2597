"""zasov.notifier.v1.NotifierService: translates between the wire and the views, and nothing else."""

import re
from datetime import timedelta
from uuid import UUID

import grpc
from zasov.notifier.v1 import notifier_service_pb2 as pb
from zasov.notifier.v1.notifier_service_pb2_grpc import NotifierServiceServicer as Base

from services.chassis.errors import ServiceError, invalid
from services.chassis.interceptors import Context
from services.notifier import errors
from services.notifier.domain import CHANNELS, ChannelId, State, channel_of
from services.notifier.views import View, Views

_UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_LONGEST_AGO_MS = 24 * 3600 * 1000
_LONGEST_WITHIN_MS = 600 * 1000
_USUAL, _MOST = 100, 500
_STATES: "dict[State, pb.MessageState.ValueType]" = {
    State.PENDING: pb.MESSAGE_STATE_PENDING,
    State.SUBMITTED: pb.MESSAGE_STATE_SUBMITTED,
    State.DELIVERED: pb.MESSAGE_STATE_DELIVERED,
    State.FAILED: pb.MESSAGE_STATE_FAILED,
    State.AMBIGUOUS: pb.MESSAGE_STATE_AMBIGUOUS,
    State.VOID: pb.MESSAGE_STATE_VOID,
}


class NotifierServicer(Base):
    def __init__(self, views: Views) -> None:
        self._views = views

    async def GetDelivery(self, request: pb.GetDeliveryRequest, context: Context) -> pb.GetDeliveryResponse:
        if not 0 <= request.ago_ms <= _LONGEST_AGO_MS:
            raise invalid({"ago_ms": f"must be 0 to {_LONGEST_AGO_MS}"})
        if not 0 <= request.within_ms <= _LONGEST_WITHIN_MS:
            raise invalid({"within_ms": f"must be 0 to {_LONGEST_WITHIN_MS}"})
        if request.recent_channel not in CHANNELS.values():
            raise invalid({"recent_channel": "must be a known one"})
        cause = _uuid("cause_stream_id", request.cause_stream_id)
        ago, within = timedelta(milliseconds=request.ago_ms), timedelta(milliseconds=request.within_ms)
        known = await self._views.known(cause, ago)
        recent = await self._views.recent(ago, within, channel_of(request.recent_channel) or ChannelId.SMS)
        answer = pb.GetDeliveryResponse(recent=recent.messages, recent_arrived=recent.arrived)
        if known is not None:
            answer.state, answer.channel = _STATES[known.state], CHANNELS[known.channel]
        return answer

    async def GetMessage(self, request: pb.GetMessageRequest, context: Context) -> pb.GetMessageResponse:
        view = await self._views.one(_uuid("notification_id", request.notification_id))
        if view is None:
            raise ServiceError(grpc.StatusCode.NOT_FOUND, errors.MESSAGE_UNKNOWN, "No such message is known.")
        return pb.GetMessageResponse(message=_message(view))

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        if not 0 <= request.limit <= _MOST:
            raise invalid({"limit": f"must be 0 to {_MOST}"})
        before = _uuid("before_notification_id", request.before_notification_id) if request.before_notification_id else None
        cause = _uuid("cause_stream_id", request.cause_stream_id) if request.cause_stream_id else None
        views = await self._views.newest(request.limit or _USUAL, before, cause)
        return pb.ListMessagesResponse(messages=[_message(view) for view in views])


def _message(view: View) -> pb.MessageView:
    message = pb.MessageView(
        notification_id=str(view.notification_id),
        cause_event_id=str(view.cause_event_id),
        cause_stream_id=str(view.cause_stream_id),
        kind=view.kind,
        channel=CHANNELS[view.channel],
        state=_STATES[view.state],
        attempts=view.attempts,
    )
    message.created_at.FromDatetime(view.created_at)
    message.changed_at.FromDatetime(view.changed_at)
    message.deadline.FromDatetime(view.deadline)
    return message


def _uuid(field: str, text: str) -> UUID:
    """Raises ServiceError INVALID_ARGUMENT."""
    if not _UUID.fullmatch(text):
        raise invalid({field: "must be a UUID"})
    return UUID(text)
