"""What subscribers are told of their message's way (M11), beside the notifier's events."""

from collections import defaultdict
from uuid import UUID

from zasov.events.v1.notifier_event_pb2 import CHANNEL_EMAIL

from tests.faults.calls import OK, Call
from tests.faults.history import Event, History
from tests.faults.stage import DELIVERY_QUIET_S

UNDERWAY, DELIVERED, NOT_DELIVERED = "DELIVERY_STATE_UNDERWAY", "DELIVERY_STATE_DELIVERED", "DELIVERY_STATE_NOT_DELIVERED"
_SLACK_S = 0.05


def delivery_is_told_as_the_notifier_knows_it(history: History) -> list[str]:
    """Underway until the quiet time is over, then what was known at its end, for good: never better or worse than the events
    say. A code's own end makes an underway of it undelivered.
    """
    found = []
    messages: defaultdict[UUID, list[Event]] = defaultdict(list)
    streams = history.streams("notifier")
    for message in history.messages:
        messages[message.cause_stream_id] += streams.get(message.notification_id, [])
    asked: defaultdict[str, list[Call]] = defaultdict(list)
    for call in history.calls:
        if call.kind == "get_delivery":
            asked[call.about].append(call)
    for trace, calls in asked.items():
        sending = history.call_of[trace]
        issued = next((one for one in history.caused_by.get(trace, ()) if one.kind == "OtpIssued"), None)
        if issued is None or sending.ended is None:
            found.append(f"{sending.phone} was told of a message for a code that was never issued, trace {trace}")
            continue
        over = issued.payload.expires_at.ToNanoseconds() / 1e9
        quiet = sending.started + DELIVERY_QUIET_S, sending.ended + DELIVERY_QUIET_S
        found += _of_one(calls, messages[issued.stream_id], quiet, over, history)
    return found


def _of_one(calls: list[Call], events: list[Event], quiet: tuple[float, float], over: float, history: History) -> list[str]:
    """quiet: when its time is over, at the earliest and at the latest. over: when its code is."""
    found = []
    settled = _settled_before(calls, events, quiet, history)
    last = ""
    for call in calls:
        if call.answer != OK or call.ended is None:
            continue
        (told,) = call.told
        known = [_told(event) for event in events if event.at <= call.ended + _SLACK_S]
        if told != UNDERWAY and call.ended < quiet[0] - _SLACK_S:
            found.append(f"{call.phone} was told {told} while nothing is told yet, trace {call.trace}")
        if told == DELIVERED and DELIVERED not in known:
            found.append(f"{call.phone} was told {told}, and no event says so, trace {call.trace}")
        if told == NOT_DELIVERED and NOT_DELIVERED not in known and call.ended < over - _SLACK_S:
            found.append(f"{call.phone} was told {told}, and no event says so, trace {call.trace}")
        if told == UNDERWAY and settled and call.started > quiet[1] + _SLACK_S:
            found.append(f"{call.phone} was told {told}, and {settled} was known, trace {call.trace}")
        if last not in ("", UNDERWAY, told):
            found.append(f"{call.phone} was told {last} and then {told}, trace {call.trace}")
        last = told
    return found


def _settled_before(calls: list[Call], events: list[Event], quiet: tuple[float, float], history: History) -> str:
    """The end that must have been seen: it was in Kafka, and so committed, before the first call that may have fixed the
    answer. A process may be stopped for a while between an event's time and its commit.
    """
    fixing = [call.started for call in calls if (call.ended or float("inf")) >= quiet[0] - _SLACK_S]
    ends = [(event, _told(event)) for event in events if _told(event) != UNDERWAY]
    for event, told in ends:
        in_kafka = min((one.at for one in history.records if one.event_id == event.event_id), default=float("inf"))
        if event.at < quiet[0] - _SLACK_S and in_kafka < min(fixing, default=0.0) - _SLACK_S:
            return told
    return ""


def _told(event: Event) -> str:
    """What is told once the event is known."""
    if event.kind == "MessageDelivered":
        return DELIVERED
    if event.kind == "MessageSubmitted" and event.payload.message.channel == CHANNEL_EMAIL:
        return DELIVERED
    return NOT_DELIVERED if event.kind == "MessageFailed" else UNDERWAY
