"""Accounts: pure. No I/O and no clock. What is secret passes through as sealed bytes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

from google.protobuf.message import Message
from zasov.events.v1.auth_event_pb2 import (
    AccountRegistered,
    ContactChangeApproved,
    ContactChangeCancelled,
    ContactChanged,
    ContactChangeRequested,
    ContactReplaced,
    EmailWarned,
    LoginFailed,
    LoginRefused,
    LoginSucceeded,
    NumberLinked,
    NumberUnlinked,
    PasswordChanged,
    PasswordProposalRefused,
    PasswordProposed,
    PasswordProven,
    PasswordRehashed,
    PasswordReset,
    RecoveryStartedAtOffice,
    SessionEnded,
    SessionStarted,
    SignedInFromNewDevice,
    SmsCommandNotUnderstood,
    TemporaryPasswordUsed,
)
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD, Credential

from services.chassis.eventstore import Fact

_LENGTH_BYTES = 2
_TOKEN_HASH_BYTES = 32
# What lockout blocks at (M3).
_STRIKES = 3
MOST_DEVICES = 20


@dataclass(frozen=True, slots=True)
class Account:
    """The state row. password and contact are sealed with the account's own key; no password: one is to be chosen.

    devices: marks of those that signed in, the last one first, at most MOST_DEVICES.
    """

    account_id: UUID
    version: int = 0
    credential_version: int = 0
    password: bytes = b""
    contact: bytes = b""
    open_failures: tuple[UUID, ...] = ()
    devices: tuple[bytes, ...] = ()

    @property
    def is_struck_out(self) -> bool:
        """Whether sign-in is blocked, as far as failures tell: of a strike for an attempt that a crash lost, lockout knows."""
        return len(self.open_failures) >= _STRIKES


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that is about to begin. token_hash: SHA-256 of the bearer token. device: its mark; empty if none was named."""

    session_id: UUID
    token_hash: bytes
    expires_at: datetime
    device: bytes = b""


@dataclass(frozen=True, slots=True)
class Session:
    """A session's row."""

    token_hash: bytes
    expires_at: datetime
    ended_at: datetime | None = None


class PasswordMoved(Exception):
    """The password is not the one that was verified any more: the decision falls."""


def decide_registration(sealed_contact: bytes, sealed_password: bytes, session: NewSession) -> list[Fact]:
    """An account with its first password, and the session that goes with it (M2)."""
    return [
        Fact(AccountRegistered(credential_version=1), secret=_join(sealed_contact, sealed_password)),
        _session_started(session),
    ]


def decide_provisioning(sealed_contact: bytes) -> list[Fact]:
    """An account that the operator's own systems make: its password is still to be chosen (M12)."""
    return [Fact(AccountRegistered(credential_version=1, by_operator=True), secret=_join(sealed_contact, b""))]


def decide_contact(
    sealed_contact: bytes, changed: Iterable["ContactChanged.Part.ValueType"], via: "ContactChanged.Via.ValueType"
) -> list[Fact]:
    """What is on file becomes another one (M11, M12, M18)."""
    return [Fact(ContactChanged(changed=list(changed), via=via), secret=sealed_contact)]


def decide_success(
    account: Account,
    verified_version: int,
    attempt_id: UUID,
    forgiven: Sequence[UUID],
    session: NewSession,
    rehashed: bytes | None,
) -> list[Fact]:
    """A settled right guess (rule 7), and the failures that its settling named. Raises PasswordMoved."""
    if account.credential_version != verified_version:
        raise PasswordMoved
    facts = [
        Fact(
            LoginSucceeded(
                attempt_id=str(attempt_id),
                credential=CREDENTIAL_PASSWORD,
                credential_version=verified_version,
                session_id=str(session.session_id),
                forgiven_attempt_ids=[str(one) for one in forgiven],
            )
        ),
        _session_started(session),
    ]
    if session.device and session.device not in account.devices:
        facts.append(Fact(SignedInFromNewDevice(session_id=str(session.session_id))))
    if rehashed is not None:
        facts.append(Fact(PasswordRehashed(), secret=rehashed, is_public=False))
    return facts


def decide_failure(attempt_id: UUID, credential_version: int, known: bool) -> list[Fact]:
    """A wrong guess that was evaluated (rule 6): recorded whatever has happened since."""
    return [
        Fact(
            LoginFailed(
                attempt_id=str(attempt_id),
                credential=CREDENTIAL_PASSWORD,
                credential_version=credential_version,
                identifier_known=known,
            )
        )
    ]


def decide_refusal(reason: "LoginRefused.Reason.ValueType", credential: Credential.ValueType, known: bool) -> list[Fact]:
    return [Fact(LoginRefused(reason=reason, credential=credential, identifier_known=known))]


def decide_change(
    account: Account,
    verified_version: int,
    attempt_id: UUID,
    forgiven: Sequence[UUID],
    sealed_password: bytes,
    session_id: UUID,
) -> list[Fact]:
    """A new password by one who knew the old one, at a settled guess: all other sessions end (M8). Raises PasswordMoved."""
    if account.credential_version != verified_version:
        raise PasswordMoved
    changed = PasswordChanged(
        credential_version=account.credential_version + 1,
        attempt_id=str(attempt_id),
        forgiven_attempt_ids=[str(one) for one in forgiven],
    )
    return [Fact(changed, secret=sealed_password), _others_ended(session_id)]


def decide_proof(
    account: Account, verified_version: int, attempt_id: UUID, forgiven: Sequence[UUID], session_id: UUID
) -> list[Fact]:
    """A settled right guess in a session, as a proof for something else (M22). Raises PasswordMoved."""
    if account.credential_version != verified_version:
        raise PasswordMoved
    proven = PasswordProven(
        attempt_id=str(attempt_id),
        credential_version=verified_version,
        forgiven_attempt_ids=[str(one) for one in forgiven],
        session_id=str(session_id),
    )
    return [Fact(proven)]


def decide_reset(
    account: Account, via: "PasswordReset.Via.ValueType", sealed_password: bytes, session: NewSession
) -> list[Fact]:
    """A new password by one who proved the number: all other sessions end (M4, M19)."""
    reset = PasswordReset(credential_version=account.credential_version + 1, via=via, lifted_block=account.is_struck_out)
    return [Fact(reset, secret=sealed_password), _others_ended(session.session_id), _session_started(session)]


def decide_temporary_use(account: Account) -> list[Fact]:
    """A one-time password was right: the permanent one goes with it, and every session (M5, rule 10)."""
    used = TemporaryPasswordUsed(credential_version=account.credential_version + 1, lifted_block=account.is_struck_out)
    return [Fact(used), Fact(SessionEnded(all=True, reason=SessionEnded.REASON_TEMPORARY_PASSWORD))]


def decide_proposal(failed_rules: Iterable[str]) -> list[Fact]:
    """A password that came by SMS: to be confirmed, or against the policy (M6)."""
    failed = list(failed_rules)
    return [Fact(PasswordProposalRefused(failed_rules=failed) if failed else PasswordProposed())]


def decide_help() -> list[Fact]:
    """An SMS that was no command is answered (M6)."""
    return [Fact(SmsCommandNotUnderstood())]


def evolve(account: Account, event: Message, secret: bytes | None) -> Account:
    """The state after one more event; its version is the caller's to keep."""
    match event:
        case AccountRegistered():
            contact, password = _split(secret or b"")
            return replace(account, credential_version=event.credential_version, contact=contact, password=password)
        case PasswordChanged():
            return _with_password(account, event.credential_version, secret)
        case PasswordReset() | TemporaryPasswordUsed():
            # It may have been taken back from somebody, whose device must be told of if it ever signs in again.
            return replace(_with_password(account, event.credential_version, secret), devices=())
        case PasswordRehashed():
            return replace(account, password=secret or b"")
        case ContactChanged():
            return replace(account, contact=secret or b"")
        case LoginFailed():
            return replace(account, open_failures=(*account.open_failures, UUID(event.attempt_id)))
        case LoginSucceeded() | PasswordProven():
            # One that was stored after the settling is still open there: the next success names it.
            forgiven = {UUID(one) for one in event.forgiven_attempt_ids}
            return replace(account, open_failures=tuple(one for one in account.open_failures if one not in forgiven))
        case SessionStarted():
            return _seen_on(account, (secret or b"")[_TOKEN_HASH_BYTES:])
        case LoginRefused() | SessionEnded() | SignedInFromNewDevice() | ContactReplaced() | EmailWarned():
            return account
        case PasswordProposed() | PasswordProposalRefused() | SmsCommandNotUnderstood():
            return account
        # Of these office/domain.py keeps a state of its own, of the others links/domain.py.
        case RecoveryStartedAtOffice() | ContactChangeRequested() | ContactChangeApproved() | ContactChangeCancelled():
            return account
        case NumberLinked() | NumberUnlinked():
            return account
    raise TypeError(f"{type(event).__name__} is not an event of an account")


def fold(account: Account, facts: Sequence[Fact]) -> Account:
    """The state after the facts, and their number added to its version."""
    for fact in facts:
        account = evolve(account, fact.payload, fact.secret)
    return replace(account, version=account.version + len(facts))


def session_changes(
    sessions: Mapping[UUID, Session], event: Message, secret: bytes | None, at: datetime
) -> dict[UUID, Session]:
    """The sessions that an event begins or ends, as they become. `append_account` does the same to the rows."""
    match event:
        case SessionStarted():
            begun = Session((secret or b"")[:_TOKEN_HASH_BYTES], event.expires_at.ToDatetime(tzinfo=UTC))
            return {UUID(event.session_id): begun}
        case SessionEnded():
            ended = {UUID(event.session_id)} if event.session_id else sessions.keys() - {spared_session(event)}
            return {one: replace(sessions[one], ended_at=at) for one in ended if sessions[one].ended_at is None}
    return {}


def spared_session(ended: SessionEnded) -> UUID:
    """The one session that an end of many leaves alone; nobody's id if it is of all."""
    return UUID(int=0) if ended.all else UUID(ended.all_except_session_id)


def _with_password(account: Account, version: int, secret: bytes | None) -> Account:
    return replace(account, credential_version=version, password=secret or b"", open_failures=())


def _seen_on(account: Account, device: bytes) -> Account:
    if not device:
        return account
    others = [one for one in account.devices if one != device]
    return replace(account, devices=(device, *others)[:MOST_DEVICES])


def _session_started(session: NewSession) -> Fact:
    started = SessionStarted(session_id=str(session.session_id))
    started.expires_at.FromDatetime(session.expires_at)
    return Fact(started, secret=session.token_hash + session.device)


def _others_ended(session_id: UUID) -> Fact:
    return Fact(SessionEnded(all_except_session_id=str(session_id), reason=SessionEnded.REASON_NEW_PASSWORD))


def _join(first: bytes, second: bytes) -> bytes:
    return len(first).to_bytes(_LENGTH_BYTES, "big") + first + second


def _split(joined: bytes) -> tuple[bytes, bytes]:
    end = _LENGTH_BYTES + int.from_bytes(joined[:_LENGTH_BYTES], "big")
    return joined[_LENGTH_BYTES:end], joined[end:]
