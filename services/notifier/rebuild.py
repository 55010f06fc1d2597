"""What the notifier's events make of its tables, and what they don't (mission row B5)."""

from collections.abc import Iterable

from zasov.events.v1.notifier_event_pb2 import MessageAccepted, NotifierEvent, SendingLimitTripped, SmsLimitTripped, SmsReceived

from services.chassis import rebuild as chassis
from services.chassis.eventstore import PastEvent
from services.chassis.rebuild import FreshRow, Projection, Report
from services.chassis.rebuild_sql import Table
from services.notifier.domain import Message, begun, evolve
from services.notifier.settings import NotifierSettings

# While somebody is at work on it, a message's row is ahead of its events: that is a lease.
_FOR_GOOD = "CASE WHEN {row}.state IN ('pending', 'submitting') THEN 0 ELSE {row}.attempt END"
MESSAGE = Table(
    "message", "notification_id", ("notification_id",),
    ("notification_id", "cause_event_id", "cause_stream_id", "kind", "channel", "state", "version", "attempt", "resends",
     "created_at", "deadline", "report"),
    compared={
        "channel": "CASE WHEN {row}.state IN ('pending', 'submitting') THEN NULL ELSE {row}.channel END",
        "state": "CASE WHEN {row}.state = 'submitting' THEN 'pending' ELSE {row}.state END",
        "attempt": _FOR_GOOD,
    },
    # Nobody knows whether a message whose row was lost was on the wire: in doubt it is not simply sent (again).
    stored={
        "state": "CASE WHEN f.state = 'pending' THEN 'submitting' ELSE f.state END",
        "attempt": "CASE WHEN f.state = 'pending' THEN f.attempt + 1 ELSE f.attempt END",
        "due_at": "CASE WHEN f.state = 'pending' OR f.report IS NOT NULL THEN now() END",
        "lease": "NULL",
        "reported": "false",
    },
)  # fmt: skip

NOT_REBUILT = {
    "message.submitting": "work in hand, with channel, attempt, tries, due_at, lease: a row that was lost counts as in doubt",
    "message.reported": "whether the issuer was told; a row that was lost is reported again, which has no second effect",
    "part": "the provider's ids of what was submitted: receipts of lost ones are not understood, the message stays submitted",
    "early_receipt": "receipts that wait for the answer to their submit, 10 minutes",
    "inbound": "subscribers' texts until auth has acted on them, 10 minutes at most: what is lost was not acted on",
    "inbound_part": "their parts, sealed to auth; afterwards only what recognises a repetition, a minute",
    "inbound_sender": "what the limit per sender counts, a day",
    "sending_count": "how many SMS went to a number, range or country; a day at most; lost, it is counted anew",
    "consumer_mark": "what was applied; without marks a replay meets the rows of `message`, which are unique by their cause",
}


async def rebuild(settings: NotifierSettings, *, replace: bool = False) -> Report:
    """Compares the notifier's tables with its events."""
    return await chassis.rebuild(settings, projection(), replace=replace)


class _NoRow:
    """What came of a subscriber's text is no row: its event says all that stays. Nor is a limit that was reached."""

    def __init__(self, only: type | None = None) -> None:
        self.again = only  # what its stream may go on with


def projection() -> Projection[Message | _NoRow]:
    return Projection("notifier", NotifierEvent, (MESSAGE,), NOT_REBUILT, _evolve, _rows)


def _evolve(message: Message | _NoRow | None, event: PastEvent) -> Message | _NoRow:
    if isinstance(message, _NoRow):
        if message.again is None or not isinstance(event.payload, message.again):
            raise ValueError("a subscriber's text has one event, and a limit nothing but being reached")
        return message
    if message is not None:
        return evolve(message, event.payload)
    if isinstance(event.payload, SmsReceived | SmsLimitTripped):
        return _NoRow()
    if isinstance(event.payload, SendingLimitTripped):
        return _NoRow(SendingLimitTripped)
    if not isinstance(event.payload, MessageAccepted):
        raise ValueError("a message begins with MessageAccepted")
    return begun(event.stream_id, event.payload, event.occurred_at)


def _rows(message: Message | _NoRow, _: PastEvent) -> Iterable[FreshRow]:
    if isinstance(message, _NoRow):
        return
    yield "message", (
        message.notification_id, message.cause_event_id, message.cause_stream_id, message.kind, message.channel, message.state,
        message.version, message.attempt, message.resends, message.created_at, message.deadline, message.report,
    )  # fmt: skip
