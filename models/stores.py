"""Whether the events in auth's and lockout's stores are those that the services have traced."""

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

import asyncpg
from zasov.events.v1.auth_event_pb2 import AuthEvent
from zasov.events.v1.lockout_event_pb2 import LockoutEvent

from models.traces import Line, Traced
from services.chassis.eventstore import payload_of

# Type, stream, and what tells it from others of its kind: the attempt, or the version of the password.
Fact: TypeAlias = "tuple[str, str, str]"

_BY_ATTEMPT = ("LoginFailed", "LoginSucceeded", "PasswordProven", "StrikeRecorded", "AttemptAbandoned", "StrikesCleared")
_BY_VERSION = {
    "AccountRegistered": "credential_version",
    "PasswordChanged": "credential_version",
    "PasswordReset": "credential_version",
    "TemporaryPasswordUsed": "credential_version",
    "EpochRaised": "epoch",
}


async def compare(traced: Traced, auth_url: str, lockout_url: str) -> tuple[list[str], dict[str, int]]:
    """What is stored and not traced, or traced and not stored; and how much was compared.

    A stored event without a line is no disagreement if a process was killed, or an outcome is in doubt, that can explain it.
    """
    stored = Counter([*await _stored(auth_url, AuthEvent), *await _stored(lockout_url, LockoutEvent)])
    told = Counter(fact for line in traced.lines if not line.get("doubt") for fact in _traced(line))
    excused = {fact for line in traced.lines if line.get("doubt") for fact in _in_doubt(line)}
    problems = [f"traced, but not stored: {fact}" for fact in sorted((told - stored).elements())]
    untold = sorted((stored - told).elements())
    problems += [
        f"stored, but not traced: {fact}" for fact in untold if not (_may_be_killed(fact, traced) or _key(fact) in excused)
    ]
    return problems, {"stored": stored.total(), "stored_without_a_line": len(untold)}


async def _stored(url: str, envelope: Any) -> list[Fact]:
    connection = await asyncpg.connect(url)
    try:
        rows = await connection.fetch(
            "SELECT type, stream_id, data FROM event WHERE type = ANY($1::text[])", [*_BY_ATTEMPT, *_BY_VERSION]
        )
    finally:
        await connection.close()
    return [_fact(row["type"], str(row["stream_id"]), payload_of(envelope.FromString(row["data"]))) for row in rows]


def _fact(kind: str, stream: str, payload: Any) -> Fact:
    return (kind, stream, str(getattr(payload, _BY_VERSION.get(kind, "attempt_id"))))


def _traced(line: Line) -> Iterator[Fact]:
    match line:
        case {"step": "append", "stream": stream, "events": events}:
            for event in events:
                if event["type"] in _BY_ATTEMPT:
                    yield (event["type"], stream, event["attempt"])
                elif event["type"] in _BY_VERSION:
                    yield (event["type"], stream, str(event["credential_version"]))
        case {"step": "failure" | "abandon" | "settle_right", "subject": subject, "attempt": attempt, "events": events}:
            for kind in events:
                if kind in _BY_ATTEMPT:
                    yield (kind, subject, attempt)
        case {"step": "raise_epoch", "outcome": "raised", "subject": subject, "to": epoch}:
            yield ("EpochRaised", subject, str(epoch))


def _key(fact: Fact) -> tuple[str, str]:
    kind, _, which = fact
    return ("lockout" if kind in _LOCKOUT else "auth", which)


_LOCKOUT = ("StrikeRecorded", "AttemptAbandoned", "StrikesCleared", "EpochRaised")


def _in_doubt(line: Line) -> Iterator[tuple[str, str]]:
    if line["step"] == "append":
        yield from (_key(fact) for fact in _traced(line))
    elif line["step"] == "raise_epoch":
        yield ("lockout", str(line["to"]))
    else:
        yield ("lockout", line["attempt"])


def _may_be_killed(fact: Fact, traced: Traced) -> bool:
    crashes = traced.crashes
    return bool(crashes.server or crashes.stream) if fact[0] in _LOCKOUT else bool(crashes.auth)
