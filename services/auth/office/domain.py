"""Recovery at an office (M18): pure. What staff may start, and what becomes of a phone number that isn't on file yet."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from typing import TypeAlias
from uuid import UUID

from google.protobuf.message import Message
from zasov.events.v1.auth_event_pb2 import (
    ContactChangeApproved,
    ContactChangeCancelled,
    ContactChanged,
    ContactChangeRequested,
    RecoveryStartedAtOffice,
    SessionEnded,
    StaffPseudonyms,
)

from services.auth.domain import Account
from services.chassis.eventstore import Fact

Reason: TypeAlias = "RecoveryStartedAtOffice.Reason.ValueType"
How: TypeAlias = "RecoveryStartedAtOffice.How.ValueType"
Ending: TypeAlias = "ContactChangeCancelled.Reason.ValueType"
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class PendingChange:
    """A number that waits. phone: sealed with the account's own key. requested_by: a keyed hash of who asked.
    credential_version: of the account then. due_at: None until it is approved.
    """

    change_id: UUID
    phone: bytes
    requested_by: bytes
    credential_version: int
    approve_by: datetime
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class StaffRecord:
    """Who acts. mac: a keyed hash, the same for ever. sealed: who and where, for auditors alone."""

    pseudonyms: StaffPseudonyms
    mac: bytes = field(repr=False)
    sealed: bytes = field(repr=False)


class ChangeVoid(Exception):
    """There is no such change, or not any more, or it is approved already."""


class SameApprover(Exception):
    """Who asked for it can't approve it."""


class Due(Enum):
    """It is time."""

    NOW = auto()


def decide_start(by: StaffRecord, reason: Reason, how: How) -> list[Fact]:
    return [Fact(RecoveryStartedAtOffice(by=by.pseudonyms, reason=reason, how=how), secret=by.sealed)]


def decide_request(
    pending: PendingChange | None, change_id: UUID, sealed_phone: bytes, by: StaffRecord, approve_by: datetime
) -> list[Fact]:
    """An earlier one gives way: else a slip of the typing finger could not be mended."""
    requested = ContactChangeRequested(change_id=str(change_id))
    requested.approve_by.FromDatetime(approve_by)
    superseded = decide_end(pending, ContactChangeCancelled.REASON_SUPERSEDED) if pending else []
    return [*superseded, Fact(requested, secret=by.mac + sealed_phone)]


def decide_approval(
    account: Account, pending: PendingChange | None, change_id: UUID, by: StaffRecord, now: datetime, delay: timedelta
) -> list[Fact]:
    """Raises ChangeVoid, SameApprover."""
    if pending is None or pending.change_id != change_id or pending.due_at or what_is_due(account, pending, now):
        raise ChangeVoid
    if pending.requested_by == by.mac:
        raise SameApprover
    approved = ContactChangeApproved(change_id=str(change_id), by=by.pseudonyms)
    approved.carried_out_from.FromDatetime(now + delay)
    return [Fact(approved, secret=by.sealed)]


def what_is_due(account: Account, pending: PendingChange, now: datetime) -> "Ending | Due | None":
    """None: it goes on waiting."""
    if account.credential_version != pending.credential_version:
        return ContactChangeCancelled.REASON_NEW_PASSWORD
    if pending.due_at is None:
        return ContactChangeCancelled.REASON_LAPSED if now >= pending.approve_by else None
    return Due.NOW if now >= pending.due_at else None


def decide_end(pending: PendingChange, reason: Ending) -> list[Fact]:
    return [Fact(ContactChangeCancelled(change_id=str(pending.change_id), reason=reason))]


def sessions_end() -> Fact:
    """With the new number: whoever is in may be whom it was taken from."""
    return Fact(SessionEnded(all=True, reason=SessionEnded.REASON_OFFICE))


def evolve_change(
    pending: PendingChange | None, account: Account, event: Message, secret: bytes | None
) -> PendingChange | None:
    """What waits after one more event of the account, which was `account` before it."""
    match event:
        case ContactChangeRequested():
            mac, phone = (secret or b"")[:_MAC_BYTES], (secret or b"")[_MAC_BYTES:]
            approve_by = event.approve_by.ToDatetime(tzinfo=UTC)
            return PendingChange(UUID(event.change_id), phone, mac, account.credential_version, approve_by)
        case ContactChangeApproved():
            return pending and replace(pending, due_at=event.carried_out_from.ToDatetime(tzinfo=UTC))
        case ContactChangeCancelled():
            return None
        case ContactChanged(via=ContactChanged.VIA_OFFICE):
            return None
    return pending
