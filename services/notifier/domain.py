"""What the notifier decides, without I/O and without a clock: what an event asks for, what follows from each outcome.

A message waits as `pending`; `submitting` is recorded before it goes on the wire; the answer makes it `submitted`, and
receipts make that `delivered` or `failed`. Whoever finds it `submitting` with nobody at work can't know whether it went:
that is an ambiguous outcome, as is a submit without an answer, and the policy of its kind decides whether it is sent again.

How it travels is the subscriber's choice, which its issuer knows: the claim says it, each time, and the message has no channel
before the first. That a message waits is a fact; that somebody is at work on it (submitting, attempts, pauses, the channel of
a try that came to nothing) is a lease and not rebuilt.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from uuid import UUID

from google.protobuf.message import Message as Payload
from zasov.events.v1.notifier_event_pb2 import (
    CHANNEL_EMAIL,
    CHANNEL_SMS,
    CHANNEL_UNSPECIFIED,
    Channel,
    MessageAccepted,
    MessageAmbiguous,
    MessageDelivered,
    MessageFailed,
    MessageRef,
    MessageSubmitted,
)

from services.chassis.eventstore import Fact


class Kind(StrEnum):
    """What a message says: the name of its templates."""

    CODE = "code"
    # Good for one sign-in; goes to whichever contact on file was chosen.
    TEMPORARY_PASSWORD = "temporary_password"  # noqa: S105  # a name
    # Answers to SMS: who sends one reads SMS, and the number that it seems to come from is what the answer proves. No letters.
    PROPOSED_PASSWORD = "proposed_password"  # noqa: S105
    PROPOSAL_REFUSED = "proposal_refused"
    SMS_HELP = "sms_help"
    ACCOUNT_BLOCKED = "account_blocked"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105  # a name
    # A new password that lifted a block: one message says both.
    SIGN_IN_REOPENED = "sign_in_reopened"
    # The sign-in with a one-time password that lifted a block; the choice of a permanent one is told of by itself.
    TEMPORARY_PASSWORD_USED = "temporary_password_used"  # noqa: S105  # a name
    NEW_DEVICE = "new_device"
    # To the subscriber whose number it is (M16).
    NUMBER_LINKED = "number_linked"
    CONTACT_CHANGED = "contact_changed"
    # After a document was checked at an office (M18): a one-time password; half of one, whose other half is on a slip.
    OFFICE_PASSWORD = "office_password"  # noqa: S105  # a name
    OFFICE_SLIP = "office_slip"
    CONTACT_CHANGE_REQUESTED = "contact_change_requested"


# Secrets that otp issues; whom to send them to, and until when, is claimed there.
FROM_OTP = frozenset({Kind.CODE, Kind.TEMPORARY_PASSWORD, Kind.PROPOSED_PASSWORD, Kind.OFFICE_PASSWORD, Kind.OFFICE_SLIP})


class ChannelId(StrEnum):
    SMS = "sms"
    EMAIL = "email"


class State(StrEnum):
    PENDING = "pending"
    SUBMITTING = "submitting"
    SUBMITTED = "submitted"
    DELIVERED = "delivered"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"  # for good: it isn't sent again
    VOID = "void"


class Report(StrEnum):
    """What the service that asked for the message is told."""

    SENT = "sent"
    FAILED = "failed"


class PartState(StrEnum):
    """What receipts have said of one part of a message."""

    UNDERWAY = "underway"
    DELIVERED = "delivered"
    EXPIRED = "expired"
    UNDELIVERABLE = "undeliverable"


CHANNELS: "dict[ChannelId | None, Channel.ValueType]" = {
    None: CHANNEL_UNSPECIFIED,
    ChannelId.SMS: CHANNEL_SMS,
    ChannelId.EMAIL: CHANNEL_EMAIL,
}
_CHANNEL_IDS = {number: name for name, number in CHANNELS.items()}


def channel_of(number: "Channel.ValueType") -> ChannelId | None:
    """As an event or a call says it. Raises KeyError for one that is not known."""
    return _CHANNEL_IDS[number]


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings that decisions depend on."""

    event_max_age: timedelta
    notice_lifetime: timedelta
    code_resends: int
    retry_first: timedelta
    retry_most: timedelta

    def most_resends(self, kind: Kind) -> int:
        """A second code costs an SMS and helps; a second notice alarms, and the first may have come."""
        return self.code_resends if kind in FROM_OTP else 0

    def pause(self, tries: int, jitter: float) -> timedelta:
        """Before the next try, after `tries` that came to nothing. jitter: 0 to 1; takes away up to half."""
        # The exponent is bounded so that no number of tries overflows a timedelta.
        whole: timedelta = min(self.retry_most, self.retry_first * 2 ** min(tries, 16))
        return whole * (1 - jitter / 2)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A message that an event asks for. expires_at: the event's own word on it, if it has one."""

    cause_event_id: UUID
    cause_stream_id: UUID
    kind: Kind
    occurred_at: datetime
    expires_at: datetime | None = None

    def deadline(self, policy: Policy) -> datetime:
        return self.expires_at or self.occurred_at + policy.notice_lifetime


@dataclass(frozen=True, slots=True)
class Message:
    """A message's row. channel: None until claimed. version: of its event stream. tries: in a row that came to nothing."""

    notification_id: UUID
    cause_event_id: UUID
    cause_stream_id: UUID
    kind: Kind
    channel: ChannelId | None
    state: State
    created_at: datetime
    deadline: datetime
    version: int = 0
    attempt: int = 0
    resends: int = 0
    tries: int = 0
    report: Report | None = None

    def ref(self) -> MessageRef:
        return MessageRef(
            cause_event_id=str(self.cause_event_id),
            channel=CHANNELS[self.channel],
            kind=self.kind.value,
            attempt=self.attempt,
        )


@dataclass(frozen=True, slots=True)
class Step:
    """What follows: the message as it becomes, the facts to append, and when there is more to do (None: nothing).
    nothing_went_out: it counts under no limit.
    """

    message: Message
    facts: tuple[Fact, ...] = ()
    due_in: timedelta | None = None
    nothing_went_out: bool = False


def accept(notification_id: UUID, wanted: Wanted, policy: Policy, now: datetime) -> Step:
    """A message that is asked for. For an old event there is nothing left to claim."""
    ref = MessageRef(cause_event_id=str(wanted.cause_event_id), kind=wanted.kind.value, attempt=0)
    accepted = MessageAccepted(message=ref, cause_stream_id=str(wanted.cause_stream_id))
    accepted.deadline.FromDatetime(wanted.deadline(policy))
    message, facts = begun(notification_id, accepted, now), (Fact(accepted, is_public=False),)
    if now - wanted.occurred_at > policy.event_max_age:
        after = void(message)
        return replace(after, facts=facts + after.facts)
    return Step(message, facts, due_in=timedelta(0))


def claimed(message: Message, channel: ChannelId) -> Message:
    """Its issuer says how it travels; at a later try it may say something else."""
    return replace(message, channel=channel)


def held_back(message: Message) -> Step:
    """Its channel is away: it waits for it, and that is no try."""
    return Step(replace(message, state=State.PENDING), due_in=timedelta(0))


def begin(message: Message) -> Step:
    """To be stored before the message goes on the wire."""
    return Step(replace(message, state=State.SUBMITTING, attempt=message.attempt + 1))


def submitted(message: Message, parts: Sequence[PartState]) -> Step:
    """The provider took it; `parts` is what receipts have said of each already."""
    sent = _to(message, MessageSubmitted(message=message.ref(), parts=len(parts)))
    after = receipt(sent.message, parts)
    return sent if after is None else replace(after, facts=sent.facts + after.facts)


def receipt(message: Message, parts: Sequence[PartState]) -> Step | None:
    """What the parts' receipts amount to; None: nothing new. One lost part makes the text useless."""
    if message.state is not State.SUBMITTED:
        return None
    if PartState.UNDELIVERABLE in parts:
        return _fail(message, MessageFailed.REASON_UNDELIVERABLE)
    if PartState.EXPIRED in parts:
        return _fail(message, MessageFailed.REASON_EXPIRED)
    if all(part is PartState.DELIVERED for part in parts):
        return _to(message, MessageDelivered(message=message.ref()))
    return None


def put_off(message: Message, pause: timedelta, now: datetime) -> Step:
    """A try came to nothing and nothing went out. At the deadline at the latest it is looked at again."""
    if now >= message.deadline:
        return expired(message)
    waiting = replace(message, state=State.PENDING, tries=message.tries + 1)
    return Step(waiting, due_in=min(pause, message.deadline - now), nothing_went_out=True)


def expired(message: Message) -> Step:
    return _fail(message, MessageFailed.REASON_EXPIRED)


def refused(message: Message, provider_status: int) -> Step:
    """For good, by the provider (or by its rules, before it was asked: status 0)."""
    return _fail(message, MessageFailed.REASON_REFUSED, provider_status)


def over_limit(message: Message, reason: "MessageFailed.Reason.ValueType") -> Step:
    """Too many went there already. For good: whoever asked can ask again when there is room."""
    return _fail(message, reason)


def void(message: Message) -> Step:
    """What was to be sent is gone; whoever said so needs no report."""
    return _fail(message, MessageFailed.REASON_VOID)


def unknown(message: Message, policy: Policy, now: datetime) -> Step:
    """It was, or may have been, on the wire when the link or the worker died."""
    resent = message.resends < policy.most_resends(message.kind) and now < message.deadline
    after = _to(message, MessageAmbiguous(message=message.ref(), resent=resent))
    return replace(after, due_in=timedelta(0)) if resent else after


def begun(notification_id: UUID, accepted: MessageAccepted, at: datetime) -> Message:
    """The message after the first event of its stream. Raises ValueError for one that names no known kind or channel."""
    ref = accepted.message
    if ref.channel not in _CHANNEL_IDS:
        raise ValueError("an unknown channel")
    return Message(
        notification_id=notification_id,
        cause_event_id=UUID(ref.cause_event_id),
        cause_stream_id=UUID(accepted.cause_stream_id),
        kind=Kind(ref.kind),
        channel=_CHANNEL_IDS[ref.channel],
        state=State.PENDING,
        created_at=at,
        deadline=accepted.deadline.ToDatetime(tzinfo=UTC),
        version=1,
    )


def evolve(message: Message, event: Payload) -> Message:
    """The message after one more event. Raises TypeError for what is no event of a message under way, ValueError as `begun`."""
    match event:
        case MessageSubmitted():
            changed = replace(message, state=State.SUBMITTED, report=Report.SENT)
        case MessageDelivered():
            changed = replace(message, state=State.DELIVERED)
        case MessageFailed(reason=MessageFailed.REASON_VOID):
            changed = replace(message, state=State.VOID, report=None)
        case MessageFailed():
            # What was taken by the provider was sent, whatever receipts say of it later.
            report = message.report if message.state is State.SUBMITTED else Report.FAILED
            changed = replace(message, state=State.FAILED, report=report)
        case MessageAmbiguous(resent=True):
            changed = replace(message, state=State.PENDING, resends=message.resends + 1, report=None)
        case MessageAmbiguous():
            changed = replace(message, state=State.AMBIGUOUS, report=Report.FAILED)
        case _:
            raise TypeError(f"{type(event).__name__} is not an event of a message under way")
    ref = event.message
    if ref.channel not in _CHANNEL_IDS:
        raise ValueError("an unknown channel")
    channel = _CHANNEL_IDS[ref.channel]
    return replace(changed, channel=channel, version=message.version + 1, attempt=ref.attempt, tries=0)


def _fail(message: Message, reason: "MessageFailed.Reason.ValueType", provider_status: int = 0) -> Step:
    return _to(message, MessageFailed(message=message.ref(), reason=reason, provider_status=provider_status))


def _to(message: Message, fact: MessageSubmitted | MessageDelivered | MessageFailed | MessageAmbiguous) -> Step:
    return Step(evolve(message, fact), (Fact(fact),))
