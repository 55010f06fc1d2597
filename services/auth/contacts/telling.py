"""Which of auth's own events the subscriber is told of, and how often (M20). Pure. What is said is the notifier's.

One act of a subscriber asks for one message at most: of the events that are written together, one is told of.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from google.protobuf.message import Message
from zasov.events.v1.auth_event_pb2 import (
    ContactChangeRequested,
    NumberLinked,
    PasswordChanged,
    PasswordProposalRefused,
    PasswordReset,
    SignedInFromNewDevice,
    SmsCommandNotUnderstood,
    TemporaryPasswordUsed,
)

from services.auth.contacts.changes import is_told_of
from services.chassis.eventstore import Fact, StoredEvents, type_of

_ALWAYS = timedelta(0)


@dataclass(frozen=True, slots=True)
class Pace:
    """repeat: of two changes of the password within this, one is told of; of two links, too. new_device: the same of sign-ins
    from new devices; None: of none.
    """

    repeat: timedelta
    new_device: timedelta | None


@dataclass(frozen=True, slots=True)
class Notice:
    """An event to be told of. quiet: not within this of the one before of that kind; None: not at all."""

    event_id: UUID
    kind: str
    quiet: timedelta | None


def notices_of(facts: Sequence[Fact], events: StoredEvents, pace: Pace) -> list[Notice]:
    """What is not told by the message before it, or by the one after."""
    return [
        Notice(event_id, type_of(fact.payload), _quiet(fact.payload, pace))
        for event_id, fact in zip(events.ids, facts, strict=True)
        if _is_told(fact.payload)
    ]


def _is_told(event: Message) -> bool:
    match event:
        case PasswordChanged() | PasswordReset() | NumberLinked() | PasswordProposalRefused() | SmsCommandNotUnderstood():
            return True
        case ContactChangeRequested():
            return True
        case TemporaryPasswordUsed():
            # Else the choice of a permanent password tells of it, a minute later.
            return event.lifted_block
    return isinstance(event, SignedInFromNewDevice) or is_told_of(event)


def _quiet(event: Message, pace: Pace) -> timedelta | None:
    """Kinds that whoever has the password can bring about at will are told of once in a while. The others have limits of their
    own (each needs a message that was asked for, or comes once a day), and the answer to a text is waited for.
    """
    match event:
        case SignedInFromNewDevice():
            return pace.new_device
        case PasswordChanged() | NumberLinked():
            return pace.repeat
    return _ALWAYS
