"""A short history in which everything is as it should be; each test spoils one thing in it."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from google.protobuf.message import Message
from zasov.events.v1 import auth_event_pb2 as auth
from zasov.events.v1 import lockout_event_pb2 as lockout
from zasov.events.v1 import notifier_event_pb2 as notifier
from zasov.events.v1 import otp_event_pb2 as otp
from zasov.events.v1.meta_pb2 import CREDENTIAL_PASSWORD

from services.chassis.eventstore import Fact, payload_of, stamp
from tests.faults.calls import OK, Call
from tests.faults.history import Account, Event, History, Record, Sms, Subject, Text
from tests.faults.reading import ENVELOPES

PHONE = "+79160000001"
FIRST, SECOND = "Winter-in-Tver-1", "Spring-in-Pskov-2"


@dataclass
class Scribe:
    """Writes events as the services do, with their records in Kafka. Each step takes a second."""

    history: History = field(default_factory=History)
    account: UUID = field(default_factory=uuid4)
    clock: float = 1_800_000_000.0

    def __post_init__(self) -> None:
        self._versions: Counter[tuple[str, UUID]] = Counter()
        self._offset = 0

    def call(self, kind: str, answer: str, guess: str | None = None, new: str | None = None, phone: str = PHONE) -> Call:
        self.clock += 1
        call = Call(kind, phone, guess, new, started=self.clock, ended=self.clock + 0.5, answer=answer)
        if answer == OK and kind != "start_recovery":
            call.account_id = str(self.account)
        self.history.calls.append(call)
        return call

    def write(self, service: str, stream: UUID, *facts: Message, cause: Call | None = None, public: bool = True) -> list[Event]:
        """The events stand a little after the call began, or after the last one."""
        at = self.clock + 0.2
        version = self._versions[service, stream]
        stored = stamp(ENVELOPES[service], stream, version, [Fact(one) for one in facts], datetime.fromtimestamp(at, UTC))
        self._versions[service, stream] += len(facts)
        events = []
        for place, data in enumerate(stored.datas):
            envelope = ENVELOPES[service].FromString(data)
            payload, kind = payload_of(envelope), stored.types[place]
            one = Event(service, stream, version + 1 + place, stored.ids[place], kind, at, data, public, envelope.meta, payload)
            events.append(one)
        self.history.events += events
        for event in events if public else ():
            self._offset += 1
            trace = cause.trace if cause else uuid4().hex
            which = stream, event.version, event.event_id, event.kind
            self.history.records.append(Record(service, 0, self._offset, str(stream), event.data, *which, trace))
        return events

    def register(self) -> None:
        call = self.call("choose_registration", OK, new=FIRST)
        call.session_id = str(uuid4())
        self.history.live_sessions.add(UUID(call.session_id))
        registered = auth.AccountRegistered(credential_version=1)
        self.write("auth", self.account, registered, auth.SessionStarted(session_id=call.session_id), cause=call)
        self.raise_epoch(1)
        self.history.passwords[self.account, 1] = FIRST
        self.history.accounts[self.account] = Account(PHONE, 1)
        self.history.reached.add(self.account)
        self.history.subjects[self.account] = Subject(1, 0, is_blocked=False)

    def wrong(self, attempt: str, epoch: int = 1, left: int | None = None) -> Call:
        call = self.call("sign_in", "CREDENTIALS_REJECTED", "Wrong-1")
        call.attempts_left = left
        failed = auth.LoginFailed(
            attempt_id=attempt, credential=CREDENTIAL_PASSWORD, credential_version=epoch, identifier_known=True
        )
        self.write("auth", self.account, failed, cause=call)
        return call

    def right(self, attempt: str, guess: str = FIRST, epoch: int = 1, forgiven: tuple[str, ...] = ()) -> Call:
        call = self.call("sign_in", OK, guess)
        call.session_id = str(uuid4())
        self.history.live_sessions.add(UUID(call.session_id))
        succeeded = auth.LoginSucceeded(
            attempt_id=attempt, credential_version=epoch, session_id=call.session_id, forgiven_attempt_ids=forgiven
        )
        self.write("auth", self.account, succeeded, auth.SessionStarted(session_id=call.session_id), cause=call)
        return call

    def strike(self, attempt: str, strikes: int, epoch: int = 1) -> None:
        about = {"account_id": str(self.account), "credential": CREDENTIAL_PASSWORD, "epoch": epoch}
        facts: list[Message] = [lockout.StrikeRecorded(**about, strikes=strikes, attempt_id=attempt)]
        if strikes == 3:
            facts.append(lockout.AccountBlocked(**about))
        events = self.write("lockout", self.account, *facts)
        self.history.subjects[self.account] = Subject(epoch, strikes, is_blocked=strikes == 3)
        if strikes == 3:
            self.message(events[-1].event_id, self.account, "account_blocked", "Blocked.")

    def abandon(self, attempt: str) -> None:
        self.write("lockout", self.account, lockout.AttemptAbandoned(attempt_id=attempt))

    def clear(self, attempt: str) -> None:
        self.write("lockout", self.account, lockout.StrikesCleared(attempt_id=attempt), public=False)
        held = self.history.subjects[self.account]
        self.history.subjects[self.account] = Subject(held.epoch, 0, is_blocked=False)

    def raise_epoch(self, epoch: int) -> None:
        self.write("lockout", self.account, lockout.EpochRaised(account_id=str(self.account), epoch=epoch), public=False)
        self.history.subjects[self.account] = Subject(epoch, 0, is_blocked=False)

    def recover(self) -> Call:
        start = self.call("start_recovery", OK)
        challenge = uuid4()
        (issued,) = self.write("otp", challenge, otp.OtpIssued(), cause=start)
        self.message(issued.event_id, challenge, "code", "Code 4711, request 12.")
        self.write("otp", challenge, otp.OtpVerified(), cause=self.call("confirm_recovery", OK))
        call = self.call("choose_recovery", OK, new=SECOND)
        call.session_id = str(uuid4())
        self.history.ended_sessions |= self.history.live_sessions
        self.history.live_sessions = {UUID(call.session_id)}
        ended = auth.SessionEnded(all_except_session_id=call.session_id)
        started = auth.SessionStarted(session_id=call.session_id)
        reset, *_ = self.write("auth", self.account, auth.PasswordReset(credential_version=2), ended, started, cause=call)
        self.raise_epoch(2)
        self.history.passwords[self.account, 2] = SECOND
        self.history.accounts[self.account] = Account(PHONE, 2)
        self.message(reset.event_id, self.account, "password_changed", "Changed.")
        return call

    def message(self, cause: UUID, stream: UUID, kind: str, text: str) -> UUID:
        one, smsc_id = uuid4(), uuid4().hex
        self.write("notifier", one, notifier.MessageSubmitted(), notifier.MessageDelivered())
        self.history.messages.append(Sms(one, cause, stream, kind, "delivered"))
        self.history.parts[smsc_id] = one
        self.history.texts.append(Text(PHONE, text, (smsc_id,)))
        return one


@pytest.fixture
def scribe() -> Scribe:
    """Registered; two wrong, a right one that forgives them; three wrong and a block; back in by SMS."""
    scribe = Scribe()
    scribe.register()
    for number in (1, 2):
        scribe.wrong(f"early-{number}")
        scribe.strike(f"early-{number}", number)
    scribe.right("right", forgiven=("early-1", "early-2"))
    scribe.clear("right")
    for number in (1, 2, 3):
        scribe.wrong(f"late-{number}")
        scribe.strike(f"late-{number}", number)
    blocked = scribe.call("sign_in", "SIGN_IN_BLOCKED", FIRST)
    scribe.write("auth", scribe.account, auth.LoginRefused(), cause=blocked)
    scribe.recover()
    scribe.right("again", SECOND, 2)
    return scribe
