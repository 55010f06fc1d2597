"""What the stream does with the outcomes that auth and otp have published. Every effect is idempotent."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from uuid import UUID

from google.protobuf.message import DecodeError
from zasov.events.v1.auth_event_pb2 import (
    AccountRegistered,
    AuthEvent,
    LoginFailed,
    LoginRefused,
    LoginSucceeded,
    PasswordChanged,
    PasswordProven,
    PasswordReset,
    TemporaryPasswordUsed,
)
from zasov.events.v1.lockout_event_pb2 import LimitDimension
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, EventMeta
from zasov.events.v1.otp_event_pb2 import OtpEvent

from services.chassis import telemetry
from services.chassis.eventstore import payload_of, type_of
from services.chassis.streams import Poison
from services.lockout.domain import SubjectKey
from services.lockout.penalties import (
    ASKING_CODES,
    ASKING_FAILURES,
    REFUSING_CODES,
    REFUSING_FAILURES,
    WHOLE_SYSTEM,
    LimitKey,
)
from services.lockout.store import LockoutStore

# Told by the record's header, so that what is of no interest is never parsed.
AUTH_KINDS = frozenset(
    {
        "AccountRegistered",
        "LoginSucceeded",
        "LoginFailed",
        "LoginRefused",
        "PasswordChanged",
        "PasswordProven",
        "PasswordReset",
        "TemporaryPasswordUsed",
    }
)
# Those that soft limits count.
FAILURE_KINDS = frozenset({"LoginFailed", "LoginRefused"})
OTP_KINDS = frozenset({"OtpIssued", "DecoyIssued"})

# Fewer than the pool has connections.
_SIDE_BY_SIDE = 6
# By address, subnet, number range and system, as `_keys` gives them.
_FAILURES = (*REFUSING_FAILURES, *ASKING_FAILURES)
_CODES = (*REFUSING_CODES, *ASKING_CODES)


@dataclass(frozen=True, slots=True)
class Counted:
    """Something that a soft limit counts. at: seconds since the epoch, when it happened."""

    key: LimitKey
    at: float


def parse_auth(value: bytes | None) -> AuthEvent:
    """Raises Poison: for bytes that are none, and for an event that could never be settled, however often it is tried."""
    try:
        event = AuthEvent.FromString(value or b"")
        owner, payload = _check(event.meta), payload_of(event)
        if isinstance(payload, LoginFailed | LoginSucceeded):
            _ = UUID(payload.attempt_id), SubjectKey(owner, payload.credential, stranger=False).subject_id
        elif isinstance(payload, PasswordProven):
            _ = UUID(payload.attempt_id)
    except _UNREADABLE:
        raise Poison("not an AuthEvent") from None
    return event


def parse_otp(value: bytes | None) -> OtpEvent:
    """Raises Poison."""
    try:
        event = OtpEvent.FromString(value or b"")
        _check(event.meta)
    except _UNREADABLE:
        raise Poison("not an OtpEvent") from None
    return event


async def settle(events: Sequence[AuthEvent], store: LockoutStore, traces: Mapping[str, str] | None = None) -> None:
    """Rules 6, 7 and 9. The events of one stream in order, different streams side by side.

    traces: by event id, the traceparent that came with it: what is settled for it belongs to the same trace.
    """
    payloads = [payload_of(event) for event in events]
    succeeded = [UUID(one.attempt_id) for one in payloads if isinstance(one, LoginSucceeded | PasswordProven)]
    # Settled over gRPC before they were published: a row that is still there was brought back by a restored backup.
    still_open = await store.still_open(succeeded) if succeeded else set()
    by_stream: defaultdict[str, list[AuthEvent]] = defaultdict(list)
    for event in events:
        by_stream[event.meta.stream_id].append(event)
    side_by_side = asyncio.Semaphore(_SIDE_BY_SIDE)

    async def settle_stream(stream: Sequence[AuthEvent]) -> None:
        async with side_by_side:
            await _settle_in_order(stream, store, still_open, traces or {})

    # If one fails, none goes on beside the next try.
    async with asyncio.TaskGroup() as group:
        for stream in by_stream.values():
            group.create_task(settle_stream(stream))


def counted(events: Iterable[AuthEvent]) -> list[Counted]:
    """What the limits on failed sign-ins count."""
    return [
        one
        for event in events
        if isinstance(payload_of(event), LoginFailed | LoginRefused)
        for one in _keys(event.meta, _FAILURES)
    ]


def counted_codes(events: Iterable[OtpEvent]) -> list[Counted]:
    """What the limits on codes sent count."""
    return [one for event in events for one in _keys(event.meta, _CODES)]


async def _settle_in_order(
    events: Sequence[AuthEvent], store: LockoutStore, still_open: set[UUID], traces: Mapping[str, str]
) -> None:
    for event in events:
        if (work := _settling(event, store, still_open)) is not None:
            with telemetry.going_on(f"settle {type_of(payload_of(event))}", traces.get(event.meta.event_id)):
                await work


def _settling(event: AuthEvent, store: LockoutStore, still_open: set[UUID]) -> Awaitable[object] | None:
    """What there is to do; mostly nothing: what succeeded was settled before it was published."""
    owner = UUID(event.meta.stream_id)
    match payload_of(event):
        case LoginFailed(attempt_id=attempt, credential=credential, identifier_known=True):
            return store.record_failure(SubjectKey(owner, credential, stranger=False).subject_id, UUID(attempt))
        case LoginFailed(attempt_id=attempt):
            return _settle_strangers_failure(UUID(attempt), store)
        case LoginSucceeded(attempt_id=attempt, credential=credential) if UUID(attempt) in still_open:
            return store.settle_right(SubjectKey(owner, credential, stranger=False), UUID(attempt), [])
        case PasswordProven(attempt_id=attempt) if UUID(attempt) in still_open:
            return store.settle_right(SubjectKey(owner, CREDENTIAL_PASSWORD, stranger=False), UUID(attempt), [])
        case AccountRegistered() | PasswordChanged() | PasswordReset() | TemporaryPasswordUsed() as password:
            key = SubjectKey(owner, CREDENTIAL_PASSWORD, stranger=False)
            return store.raise_epoch(key, password.credential_version)
    return None


async def _settle_strangers_failure(attempt_id: UUID, store: LockoutStore) -> None:
    subject_id = await store.subject_of(attempt_id)
    if subject_id is not None:
        await store.record_failure(subject_id, attempt_id)


_UNREADABLE = (DecodeError, ValueError, OverflowError)


def _check(meta: EventMeta) -> UUID:
    """The stream's id. Raises ValueError or OverflowError for a meta without one, or with a time that is none."""
    meta.occurred_at.ToDatetime(tzinfo=UTC)
    return UUID(meta.stream_id)


def _keys(meta: EventMeta, dimensions: Sequence[LimitDimension.ValueType]) -> list[Counted]:
    if not meta.HasField("origin"):
        return []
    by_ip, by_subnet, by_range, by_system = dimensions
    origin, at = meta.origin, meta.occurred_at.ToDatetime(tzinfo=UTC).timestamp()
    keys = [
        LimitKey(by_ip, origin.key_id, origin.ip_pseudonym),
        LimitKey(by_subnet, origin.key_id, origin.subnet_pseudonym),
        LimitKey(by_range, origin.key_id, origin.range_pseudonym),
        LimitKey(by_system, "", WHOLE_SYSTEM),
    ]
    return [Counted(key, at) for key in keys if key.pseudonym or key.dimension == by_system]
