"""What otp's events make of its tables, and what they don't (mission row B5)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC
from typing import TypeAlias

from zasov.events.v1.otp_event_pb2 import CodesLengthened, DecoyIssued, OtpEvent, OtpIssued, OtpRefused

from services.chassis import rebuild as chassis
from services.chassis.eventstore import PastEvent
from services.chassis.rebuild import FreshRow, Projection, Report
from services.chassis.rebuild_sql import Table
from services.chassis.sealing import Seal, read_key
from services.otp.brake import brake_stream
from services.otp.challenges import unseal_secret
from services.otp.domain import Challenge, evolve
from services.otp.settings import OtpSettings

CHALLENGE = Table(
    "challenge", "id", ("id",),
    ("id", "version", "subject_id", "flow_id", "purpose", "digits", "max_tries", "is_decoy", "code_mac", "issued_at",
     "expires_at", "state", "failures"),
    # How many checks were begun is not known any more: none is left. The subscriber asks for another code.
    stored={
        "tries": "least(greatest(coalesce(l.tries, f.max_tries), f.failures), f.max_tries)",
        "other_tries": "least(coalesce(l.other_tries, f.max_tries), f.max_tries)",
    },
)  # fmt: skip

# `until` is a lease; but the version is its stream's, without which the next trip could not be written.
BRAKE = Table(
    "brake", "digits", ("digits",), ("digits", "until", "version"), compared={"until": None}, without_events="l.version = 0"
)  # fmt: skip

NOT_REBUILT = {
    "challenge.tries": "checks begun, committed before they are made; a row that was lost has none left",
    "challenge.other_tries": "the same, of those who hold no grant of its flow",
    "subject_budget": "a sliding window of 24 hours: after a loss codes are short again, and the cool-down begins anew",
    "brake.until": "a lease; a row that is put right gets the end that its last CodesLengthened names",
    "spray_count": "counts of the last day: after a loss codes are short again until they have come back",
    "delivery": "the plain code and its destination, sealed, until it is sent: the subscriber asks anew",
    "delivery_report": "what the notifier said of the sending: its own events say it too",
    "claim_audit": "who claimed a code: a record of its own, and no state",
    "consumer_mark": "unused by otp",
}


@dataclass(frozen=True, slots=True)
class _NoChallenge:
    """A refusal: one event in a stream of its own, and no state."""


@dataclass(frozen=True, slots=True)
class _Brake:
    tripped: CodesLengthened


_State: TypeAlias = Challenge | _NoChallenge | _Brake


async def rebuild(settings: OtpSettings, *, replace: bool = False) -> Report:
    """Compares otp's tables with its events. Needs the key that seals the secrets of challenges."""
    seal = Seal(read_key(settings.keys_dir / "otp-delivery.key"))
    return await chassis.rebuild(settings, projection(seal), replace=replace)


def projection(seal: Seal) -> Projection[_State]:
    def step(state: _State | None, event: PastEvent) -> _State:
        if state is None and isinstance(event.payload, OtpRefused):
            return _NoChallenge()
        if isinstance(event.payload, CodesLengthened) and not isinstance(state, Challenge | _NoChallenge):
            if brake_stream(event.payload.digits) != event.stream_id:
                raise ValueError("the stream of another length")
            return _Brake(event.payload)
        if isinstance(state, _Brake):
            raise ValueError("a brake has no challenge")
        if isinstance(state, _NoChallenge):
            raise ValueError("nothing follows a refusal")
        is_first = isinstance(event.payload, OtpIssued | DecoyIssued) and event.secret is not None
        secret = unseal_secret(seal, event.stream_id, event.secret or b"") if is_first else None
        return evolve(state, event.payload, event.occurred_at, secret)

    return Projection("otp", OtpEvent, (CHALLENGE, BRAKE), NOT_REBUILT, step, _rows)


def _rows(state: _State, last: PastEvent) -> Iterable[FreshRow]:
    if isinstance(state, _NoChallenge):
        return
    if isinstance(state, _Brake):
        yield "brake", (state.tripped.digits, state.tripped.until.ToDatetime(UTC), last.version)
        return
    yield "challenge", (
        last.stream_id, last.version, state.subject_id, state.flow_id, state.purpose, state.digits, state.max_tries,
        state.is_decoy, state.code_mac, state.issued_at, state.expires_at, state.state, state.failures,
    )  # fmt: skip
