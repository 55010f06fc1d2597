"""What lockout's events make of its tables, and what they don't (mission row B5)."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC
from typing import TypeAlias
from uuid import UUID

from zasov.events.v1.lockout_event_pb2 import (
    EpochRaised,
    LimitTripped,
    LockoutEvent,
    StrangerForgotten,
    StrikeRecorded,
    StrikesCleared,
)
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD

from services.chassis import rebuild as chassis
from services.chassis.eventstore import PastEvent
from services.chassis.rebuild import FreshRow, Projection, Report
from services.chassis.rebuild_sql import Table
from services.lockout.domain import Subject, SubjectKey, evolve
from services.lockout.penalties import LimitKey
from services.lockout.settings import LockoutSettings

# Admission makes a subject's row before anything has happened to it.
SUBJECT = Table(
    "subject", "subject_id", ("subject_id",),
    ("subject_id", "version", "owner_id", "credential", "stranger", "epoch", "strikes", "blocked_at"),
    without_events="l.version = 0 AND l.epoch = 0 AND l.strikes = 0 AND l.blocked_at IS NULL",
)  # fmt: skip
# `until` is a lease; but the version is its stream's, without which the next penalty on the key could not be written.
PENALTY = Table(
    "penalty", "pseudonym", ("pseudonym", "dimension"), ("pseudonym", "dimension", "key_id", "until", "version"),
    compared={"until": None}, without_events="l.version = 0",
)  # fmt: skip

NOT_REBUILT = {
    "attempt": "open attempts: a failure whose attempt is gone strikes nobody, a success is refused",
    "penalty.until": "a lease; a row that is put right gets the end that its last LimitTripped names",
    "stream_beat": "a lease: without one codes have six digits until the stream's next beat",
    "consumer_mark": "unused by lockout",
}

# Internal whoever the subject is: they don't tell a stranger.
_ALWAYS_INTERNAL = StrikesCleared | EpochRaised | StrangerForgotten


@dataclass(frozen=True, slots=True)
class _Penalty:
    tripped: LimitTripped


_State: TypeAlias = Subject | _Penalty


async def rebuild(settings: LockoutSettings, *, replace: bool = False) -> Report:
    """Compares lockout's tables with its events."""
    return await chassis.rebuild(settings, projection(), replace=replace)


def projection() -> Projection[_State]:
    return Projection("lockout", LockoutEvent, (SUBJECT, PENALTY), NOT_REBUILT, _evolve, _rows)


def _evolve(state: _State | None, event: PastEvent) -> _State:
    payload = event.payload
    if isinstance(payload, LimitTripped) and not isinstance(state, Subject):
        if LimitKey(payload.dimension, payload.key_id, payload.pseudonym).stream_id != event.stream_id:
            raise ValueError("the stream of another limit")
        return _Penalty(payload)
    if isinstance(state, _Penalty):
        raise ValueError("a limit has no strikes")
    # An abandoned attempt names no owner; its strike, which follows, does.
    subject = state or Subject(SubjectKey(event.stream_id, CREDENTIAL_PASSWORD, stranger=False))
    return evolve(replace(subject, key=_key(subject.key, event)), payload, event.occurred_at)


def _key(known: SubjectKey, event: PastEvent) -> SubjectKey:
    payload = event.payload
    stranger = known.stranger or not (event.is_public or isinstance(payload, _ALWAYS_INTERNAL))
    if not isinstance(payload, StrikeRecorded | EpochRaised):
        return replace(known, stranger=stranger)
    key = SubjectKey(UUID(payload.account_id), payload.credential, stranger)
    if key.subject_id != event.stream_id:
        raise ValueError("the stream of another subject")
    return key


def _rows(state: _State, last: PastEvent) -> Iterable[FreshRow]:
    if isinstance(state, _Penalty):
        tripped = state.tripped
        until = tripped.until.ToDatetime(tzinfo=UTC)
        yield "penalty", (tripped.pseudonym, tripped.dimension, tripped.key_id, until, last.version)
        return
    key = state.key
    yield "subject", (
        last.stream_id, last.version, key.owner_id, key.credential, key.stranger, state.epoch, state.strikes, state.blocked_at,
    )  # fmt: skip
