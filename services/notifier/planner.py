"""Which events ask for a message, and for which. Pure: a record in, a wish out."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from aiokafka import ConsumerRecord
from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from zasov.events.v1.auth_event_pb2 import (
    AuthEvent,
    ContactChanged,
    ContactChangeRequested,
    ContactReplaced,
    EmailWarned,
    NumberLinked,
    PasswordChanged,
    PasswordProposalRefused,
    PasswordReset,
    SignedInFromNewDevice,
    SmsCommandNotUnderstood,
    TemporaryPasswordUsed,
)
from zasov.events.v1.lockout_event_pb2 import AccountBlocked, LockoutEvent
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, EventMeta
from zasov.events.v1.otp_event_pb2 import (
    OTP_PURPOSE_COMMANDED_PASSWORD,
    OTP_PURPOSE_OFFICE_PASSWORD,
    OTP_PURPOSE_OFFICE_SLIP,
    OTP_PURPOSE_PROPOSED_PASSWORD,
    OTP_PURPOSE_TEMPORARY_PASSWORD,
    OtpEvent,
    OtpIssued,
    OtpPurpose,
)

from services.chassis.eventstore import payload_of, type_of
from services.chassis.streams import AUTH_EVENTS, LOCKOUT_EVENTS, OTP_EVENTS, Poison, header
from services.notifier.domain import Kind, Wanted

_BY_PURPOSE: "Mapping[OtpPurpose.ValueType, Kind]" = {
    OTP_PURPOSE_TEMPORARY_PASSWORD: Kind.TEMPORARY_PASSWORD,
    OTP_PURPOSE_COMMANDED_PASSWORD: Kind.TEMPORARY_PASSWORD,
    OTP_PURPOSE_PROPOSED_PASSWORD: Kind.PROPOSED_PASSWORD,
    OTP_PURPOSE_OFFICE_PASSWORD: Kind.OFFICE_PASSWORD,
    OTP_PURPOSE_OFFICE_SLIP: Kind.OFFICE_SLIP,
}

_TOLD_OF = frozenset({ContactChanged.PART_PHONE, ContactChanged.PART_EMAIL})

Planned = Callable[[EventMeta, Message], Wanted | None]


def _code(meta: EventMeta, issued: Message) -> Wanted:
    assert isinstance(issued, OtpIssued)
    return _wanted(meta, _BY_PURPOSE.get(issued.purpose, Kind.CODE), _uuid(meta.stream_id), _time(issued.expires_at))


def _account_blocked(meta: EventMeta, blocked: Message) -> Wanted | None:
    assert isinstance(blocked, AccountBlocked)
    if blocked.credential != CREDENTIAL_PASSWORD:
        return None
    return _wanted(meta, Kind.ACCOUNT_BLOCKED, _uuid(blocked.account_id))


def _password_reset(meta: EventMeta, reset: Message) -> Wanted:
    assert isinstance(reset, PasswordReset)
    return _wanted(meta, Kind.SIGN_IN_REOPENED if reset.lifted_block else Kind.PASSWORD_CHANGED, _uuid(meta.stream_id))


def _temporary_password_used(meta: EventMeta, used: Message) -> Wanted | None:
    assert isinstance(used, TemporaryPasswordUsed)
    return _wanted(meta, Kind.TEMPORARY_PASSWORD_USED, _uuid(meta.stream_id)) if used.lifted_block else None


def _contact_changed(meta: EventMeta, changed: Message) -> Wanted | None:
    """The language and the numbers in the operator's books are told of to nobody: auth has opened no notice for them."""
    assert isinstance(changed, ContactChanged)
    if _TOLD_OF.isdisjoint(changed.changed):
        return None
    return _wanted(meta, Kind.CONTACT_CHANGED, _uuid(meta.stream_id))


def _email_warned(meta: EventMeta, warned: Message) -> Wanted:
    assert isinstance(warned, EmailWarned)
    asked = warned.about == EmailWarned.ABOUT_REQUEST
    return _wanted(meta, Kind.CONTACT_CHANGE_REQUESTED if asked else Kind.CONTACT_CHANGED, _uuid(meta.stream_id))


def _notice(kind: Kind) -> Planned:
    """Of an event of auth: its stream is the account that is told."""
    return lambda meta, _: _wanted(meta, kind, _uuid(meta.stream_id))


ENVELOPES: Mapping[str, type[Message]] = {AUTH_EVENTS: AuthEvent, OTP_EVENTS: OtpEvent, LOCKOUT_EVENTS: LockoutEvent}

# Kinds that are not here need no message, and their records aren't even parsed.
PLANS: Mapping[str, Mapping[str, Planned]] = {
    OTP_EVENTS: {OtpIssued.DESCRIPTOR.name: _code},
    LOCKOUT_EVENTS: {AccountBlocked.DESCRIPTOR.name: _account_blocked},
    AUTH_EVENTS: {
        PasswordChanged.DESCRIPTOR.name: _notice(Kind.PASSWORD_CHANGED),
        PasswordReset.DESCRIPTOR.name: _password_reset,
        TemporaryPasswordUsed.DESCRIPTOR.name: _temporary_password_used,
        SignedInFromNewDevice.DESCRIPTOR.name: _notice(Kind.NEW_DEVICE),
        NumberLinked.DESCRIPTOR.name: _notice(Kind.NUMBER_LINKED),
        ContactChanged.DESCRIPTOR.name: _contact_changed,
        ContactReplaced.DESCRIPTOR.name: _notice(Kind.CONTACT_CHANGED),
        PasswordProposalRefused.DESCRIPTOR.name: _notice(Kind.PROPOSAL_REFUSED),
        SmsCommandNotUnderstood.DESCRIPTOR.name: _notice(Kind.SMS_HELP),
        ContactChangeRequested.DESCRIPTOR.name: _notice(Kind.CONTACT_CHANGE_REQUESTED),
        EmailWarned.DESCRIPTOR.name: _email_warned,
    },
}


def read(topic: str, record: ConsumerRecord) -> tuple[UUID, int, Wanted | None]:
    """The event's stream, its version, and the message that it asks for. Raises Poison, which says why and quotes nothing."""
    kind = header(record.headers, "ce_type") or ""
    envelope = ENVELOPES[topic]()
    try:
        envelope.ParseFromString(record.value or b"")
        payload = payload_of(envelope)
    except DecodeError:
        raise Poison("not readable") from None
    except ValueError:
        raise Poison("no event of a known kind") from None
    if type_of(payload) != kind:
        raise Poison("the header names another kind than the event")
    meta: EventMeta = envelope.meta  # type: ignore[attr-defined]
    if meta.version < 1:
        raise Poison("no version")
    return _uuid(meta.stream_id), meta.version, PLANS[topic][kind](meta, payload)


def _wanted(meta: EventMeta, kind: Kind, claimed_by: UUID, expires_at: datetime | None = None) -> Wanted:
    return Wanted(_uuid(meta.event_id), claimed_by, kind, _time(meta.occurred_at), expires_at)


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise Poison("an id that is no UUID") from None


def _time(stamp: Timestamp) -> datetime:
    if not stamp.seconds:
        raise Poison("a time is missing")
    try:
        return stamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise Poison("a time out of range") from None
