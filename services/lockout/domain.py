"""Strikes and blocks: pure. No I/O and no clock (docs/architecture.md, the three-strike protocol)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import reduce
from typing import Any
from uuid import UUID, uuid5

from google.protobuf.message import Message
from zasov.events.v1.lockout_event_pb2 import (
    AccountBlocked,
    AccountUnblocked,
    AttemptAbandoned,
    EpochRaised,
    StrangerForgotten,
    StrikeRecorded,
    StrikesCleared,
)
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, Credential

from services.chassis.eventstore import Fact

STRIKES_TO_BLOCK = 3


@dataclass(frozen=True, slots=True)
class SubjectKey:
    """Whose guesses are counted together: an owner and a credential; a stranger owns the guard of an unknown identifier."""

    owner_id: UUID
    credential: Credential.ValueType
    stranger: bool

    @property
    def subject_id(self) -> UUID:
        """The stream's id. For the permanent password it is the owner's own, so that analysts can join."""
        if self.credential == CREDENTIAL_PASSWORD:
            return self.owner_id
        return uuid5(self.owner_id, Credential.Name(self.credential))


@dataclass(frozen=True, slots=True)
class Subject:
    """What the events say of a subject. Open attempts are leases and not part of it."""

    key: SubjectKey
    epoch: int = 0
    strikes: int = 0
    blocked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """An admitted guess whose row has just been removed."""

    attempt_id: UUID
    epoch: int
    admitted_at: datetime


def decide_failure(subject: Subject, attempt: Attempt) -> list[Fact]:
    """A wrong guess becomes a strike, the third one a block (rules 6 and 8). One of an older epoch counts for nothing."""
    if attempt.epoch != subject.epoch or subject.blocked_at is not None:
        return []
    about = _about(subject, subject.epoch)
    strikes = subject.strikes + 1
    facts: list[Message] = [StrikeRecorded(**about, strikes=strikes, attempt_id=str(attempt.attempt_id))]
    if strikes == STRIKES_TO_BLOCK:
        facts.append(AccountBlocked(**about))
    return _facts(subject, facts)


def decide_abandoned(subject: Subject, attempt: Attempt) -> list[Fact]:
    """An attempt whose outcome never came counts as wrong (rule 8)."""
    strike = decide_failure(subject, attempt)
    if not strike:
        return []
    abandoned = AttemptAbandoned(attempt_id=str(attempt.attempt_id))
    abandoned.admitted_at.FromDatetime(attempt.admitted_at)
    return [*_facts(subject, [abandoned]), *strike]


def decide_success(subject: Subject, attempt: Attempt) -> list[Fact]:
    """A right guess wipes strikes, but lifts no block (M3, rule 7). The caller has found the attempt open."""
    if attempt.epoch != subject.epoch or subject.strikes == 0 or subject.blocked_at is not None:
        return []
    return [Fact(StrikesCleared(attempt_id=str(attempt.attempt_id)), is_public=False)]


def decide_epoch(subject: Subject, epoch: int) -> list[Fact]:
    """A new version wipes strikes and lifts a block; an old or known one does nothing (rule 9)."""
    if epoch <= subject.epoch:
        return []
    about = _about(subject, epoch)
    facts = [Fact(EpochRaised(**about), is_public=False)]
    if subject.blocked_at is not None:
        facts += _facts(subject, [AccountUnblocked(**about)])
    return facts


def decide_forgotten(subject: Subject) -> list[Fact]:
    """A stranger's block comes to its end (rule 12). An account's never does by waiting (M3)."""
    if not subject.key.stranger or subject.blocked_at is None:
        return []
    return [Fact(StrangerForgotten(), is_public=False)]


def evolve(subject: Subject, event: Message, occurred_at: datetime) -> Subject:
    """The state after one more event."""
    if isinstance(event, StrikeRecorded):
        return replace(subject, strikes=event.strikes)
    if isinstance(event, AccountBlocked):
        return replace(subject, blocked_at=occurred_at)
    if isinstance(event, StrikesCleared):
        return replace(subject, strikes=0)
    if isinstance(event, EpochRaised):
        return replace(subject, epoch=event.epoch, strikes=0, blocked_at=None)
    if isinstance(event, StrangerForgotten):
        return replace(subject, strikes=0, blocked_at=None)
    if isinstance(event, AttemptAbandoned | AccountUnblocked):
        return subject
    raise TypeError(f"{type(event).__name__} is not an event of a subject")


def fold(subject: Subject, facts: Sequence[Fact], occurred_at: datetime) -> Subject:
    return reduce(lambda state, fact: evolve(state, fact.payload, occurred_at), facts, subject)


def _about(subject: Subject, epoch: int) -> dict[str, Any]:
    return {"account_id": str(subject.key.owner_id), "credential": subject.key.credential, "epoch": epoch}


def _facts(subject: Subject, payloads: Sequence[Message]) -> list[Fact]:
    # What happens to a guard of somebody unknown is nobody's business but ours.
    return [Fact(payload, is_public=not subject.key.stranger) for payload in payloads]
