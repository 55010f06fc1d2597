"""What the stores hold when all is quiet, and what the clients were told. Plain data: a test may doctor any of it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from uuid import UUID

from tests.faults.calls import OK, Call

Version = tuple[UUID, int]  # of a stream


@dataclass(frozen=True)
class Event:
    """A row of a service's event table. data: as it is stored; meta, payload: what is in it. at: Unix time."""

    service: str
    stream_id: UUID
    version: int
    event_id: UUID
    kind: str
    at: float
    data: bytes
    is_public: bool
    meta: Any
    payload: Any


@dataclass(frozen=True)
class Record:
    """A record in Kafka. trace: of the request that caused it. at: when the broker had it, Unix time."""

    service: str
    partition: int
    offset: int
    key: str
    value: bytes
    stream_id: UUID
    version: int
    event_id: UUID
    kind: str
    trace: str
    at: float = 0.0


@dataclass(frozen=True)
class Account:
    """phone: by which they registered. handset: the phone on file, if it is another by now. email, numbers: what is on file
    besides.
    """

    phone: str
    credential_version: int
    email: str = ""
    numbers: frozenset[str] = frozenset()
    handset: str = ""


@dataclass(frozen=True)
class Subject:
    epoch: int
    strikes: int
    is_blocked: bool


@dataclass(frozen=True)
class Sms:
    """A row of the notifier's message table, emails among them. channel: empty before its claim."""

    notification_id: UUID
    cause_event_id: UUID
    cause_stream_id: UUID
    kind: str
    state: str
    channel: str = "sms"


@dataclass(frozen=True)
class Text:
    """What stands on a handset, or in a mailbox: phone is an address then, in small letters."""

    phone: str
    text: str
    message_ids: tuple[str, ...]


@dataclass
class History:
    """passwords: which of the passwords that clients chose is an account's version; read off the stored hashes."""

    calls: list[Call] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    accounts: dict[UUID, Account] = field(default_factory=dict)
    # Those whose registration was confirmed: their numbers lead to them.
    reached: set[UUID] = field(default_factory=set)
    owners: dict[UUID, UUID] = field(default_factory=dict)  # a code's stream -> the account that it was issued for
    live_sessions: set[UUID] = field(default_factory=set)
    ended_sessions: set[UUID] = field(default_factory=set)
    subjects: dict[UUID, Subject] = field(default_factory=dict)
    passwords: dict[tuple[UUID, int], str] = field(default_factory=dict)
    open_attempts: int = 0
    outboxes: Mapping[str, int] = field(default_factory=dict)
    undelivered: int = 0
    dead_letters: int = 0
    messages: list[Sms] = field(default_factory=list)
    parts: dict[str, UUID] = field(default_factory=dict)  # the SMSC's id, or a Message-ID -> notification
    texts: list[Text] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)  # what other checkers of the same stores have found

    def of(self, service: str, *kinds: str) -> Iterator[Event]:
        """A service's events, by stream and version; of these kinds, if any are named."""
        return (event for event in self._by_service[service] if not kinds or event.kind in kinds)

    @cached_property
    def _by_service(self) -> dict[str, list[Event]]:
        found: defaultdict[str, list[Event]] = defaultdict(list)
        for event in sorted(self.events, key=lambda one: (one.stream_id, one.version)):
            found[event.service].append(event)
        return found

    def streams(self, service: str) -> dict[UUID, list[Event]]:
        found: defaultdict[UUID, list[Event]] = defaultdict(list)
        for event in self.of(service):
            found[event.stream_id].append(event)
        return found

    @cached_property
    def call_of(self) -> dict[str, Call]:
        """By trace."""
        return {call.trace: call for call in self.calls}

    @cached_property
    def trace_of(self) -> dict[UUID, str]:
        """The request that caused an event: only the record in Kafka says so."""
        return {record.event_id: record.trace for record in self.records}

    @cached_property
    def caused_by(self) -> dict[str, list[Event]]:
        """What auth and otp have written on behalf of a call, by its trace."""
        found: defaultdict[str, list[Event]] = defaultdict(list)
        for service in ("auth", "otp"):
            for event in self.of(service):
                if trace := self.trace_of.get(event.event_id):
                    found[trace].append(event)
        return found

    @cached_property
    def event_of(self) -> dict[UUID, Event]:
        return {event.event_id: event for event in self.events}

    @cached_property
    def new_phones(self) -> dict[str, str]:
        """By phone: the number that an office was asked to put on file instead."""
        return {call.phone: call.contact for call in self.calls if call.kind == "request_new_phone"}

    def phone_of(self, challenge: UUID) -> str | None:
        """None: of a number that had no account then."""
        account = self.accounts.get(self.owners[challenge]) if challenge in self.owners else None
        return account and account.phone

    @cached_property
    def accounts_of(self) -> dict[str, list[UUID]]:
        """By phone. A registration that was broken off may leave an account that nobody can reach."""
        found: defaultdict[str, list[UUID]] = defaultdict(list)
        for account_id, account in self.accounts.items():
            found[account.phone].append(account_id)
        return found

    @cached_property
    def lost_right_guesses(self) -> dict[Version, list[Call]]:
        """Right guesses whose answer is unclear and which left no outcome: they may have been settled with lockout, and
        the crash have come before `LoginSucceeded` (docs/architecture.md, rule 7).
        """
        found: defaultdict[Version, list[Call]] = defaultdict(list)
        versions = {(self.accounts[account].phone, text): (account, at) for (account, at), text in self.passwords.items()}
        for call in self.calls:
            version = versions.get((call.phone, call.guess or ""))
            if version is not None and call.is_unclear and not self.caused_by.get(call.trace):
                found[version].append(call)
        return found

    def call_behind(self, event_id: UUID) -> Call | None:
        """That brought the event about."""
        return self.call_of.get(self.trace_of.get(event_id, ""))

    def answered(self, *kinds: str) -> Iterator[Call]:
        return (call for call in self.calls if call.kind in kinds and call.answer == OK)
