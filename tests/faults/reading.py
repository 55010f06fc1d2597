"""Reads a History from the stores themselves: SQL, Kafka, the SMSC's files. Nothing is asked of a service."""

import asyncio
import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError
from zasov.events.v1.auth_event_pb2 import AuthEvent
from zasov.events.v1.lockout_event_pb2 import LockoutEvent
from zasov.events.v1.notifier_event_pb2 import NotifierEvent
from zasov.events.v1.otp_event_pb2 import OtpEvent

from devstack.stack import Stack
from devstack.wiring import TOPICS
from services.auth.domain import Account as AuthAccount
from services.auth.domain import evolve
from services.auth.flows.temporary import _HANDSETS, _OFFICES
from services.auth.vault import Vaults
from services.chassis.eventstore import payload_of, type_of
from services.chassis.sealing import read_key
from services.chassis.streams import EVENT_TOPICS, header
from tests.faults.calls import Call
from tests.faults.history import Account, Event, History, Record, Sms, Subject, Text

ENVELOPES: dict[str, Any] = {"auth": AuthEvent, "otp": OtpEvent, "lockout": LockoutEvent, "notifier": NotifierEvent}
_NEW_PASSWORD = ("AccountRegistered", "PasswordChanged", "PasswordReset")
_PUBLISHED_WITHIN_S = 10.0


class Reader:
    """Remembers what cannot change: passwords recognised once, and records of Kafka read once."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._vaults = Vaults(read_key(stack.at.keys / "auth-accounts.key"))
        self._passwords: dict[tuple[UUID, int], str] = {}
        self._records: list[Record] = []
        self._dead_letters = 0
        self._positions: dict[TopicPartition, int] = {}

    async def read(self, calls: Iterable[Call]) -> History:
        """To be called when nothing moves any more."""
        history = History(calls=list(calls))
        subjects: dict[UUID, UUID] = {}
        for service in ENVELOPES:
            connection = await asyncpg.connect(self._stack.at.databases[service])
            try:
                rows = await connection.fetch("SELECT * FROM event")
                history.events += [_event(service, row) for row in rows]
                if service == "auth":
                    await self._read_auth(connection, history, rows)
                elif service == "otp":
                    subjects = dict(await connection.fetch("SELECT id, subject_id FROM challenge"))
                elif service == "lockout":
                    await _read_lockout(connection, history)
                elif service == "notifier":
                    await _read_notifier(connection, history)
                history.outboxes = {**history.outboxes, service: await _left_in_outbox(connection)}
            finally:
                await connection.close()
        history.owners = _owners(history, subjects)
        await self._read_kafka()
        await self._read_what_came_meanwhile(history)
        history.records, history.dead_letters = list(self._records), self._dead_letters
        history.texts = _texts(self._stack.state_dir / "smsc")
        for notification, mail in _mails(Path(self._stack.infra.addresses()["mail"]["messages"])):
            history.texts.append(mail)
            history.parts[mail.message_ids[0]] = notification
        return history

    def forget_kafka(self) -> None:
        """The next reading begins at the beginning of the topics again."""
        self._records, self._dead_letters, self._positions = [], 0, {}

    async def _read_auth(self, connection: asyncpg.Connection, history: History, events: list[asyncpg.Record]) -> None:
        chosen: dict[str, list[str]] = {}
        for call in history.calls:
            if call.new_password is not None:
                chosen.setdefault(call.phone, []).append(call.new_password)
        moved = {new: phone for phone, new in history.new_phones.items()}
        streams: dict[UUID, list[asyncpg.Record]] = {}
        for event in sorted(events, key=lambda row: row["version"]):
            streams.setdefault(event["stream_id"], []).append(event)
        rows = await connection.fetch("SELECT * FROM account JOIN account_key USING (account_id)")
        for row in rows:
            vault = self._vaults.open(row["account_id"], row["wrapped"])
            contact = vault.open_contact(row["contact"])
            handset, numbers = contact.phone.e164, frozenset(one.text for one in contact.numbers)
            phone = moved.get(handset, handset)
            on_file = contact.email.lower(), numbers, handset if handset in moved else ""
            history.accounts[row["account_id"]] = Account(phone, row["credential_version"], *on_file)
            state = AuthAccount(row["account_id"])
            for event in streams[row["account_id"]]:
                if event["type"] not in _NEW_PASSWORD:
                    continue
                state = evolve(state, payload_of(AuthEvent.FromString(event["data"])), event["secret"])
                key = (row["account_id"], state.credential_version)
                if key not in self._passwords:
                    hashed = vault.open_password(state.password)
                    found = await asyncio.to_thread(_which, hashed, chosen.get(phone, []))
                    if found is not None:
                        self._passwords[key] = found
        history.passwords = dict(self._passwords)
        confirmed = await connection.fetch("SELECT account_id FROM identifier WHERE reserved_until IS NULL")
        history.reached = {row["account_id"] for row in confirmed}
        for row in await connection.fetch("SELECT session_id, ended_at FROM session"):
            (history.live_sessions if row["ended_at"] is None else history.ended_sessions).add(row["session_id"])

    async def _read_what_came_meanwhile(self, history: History) -> None:
        """Codes expire by themselves: between the reading of the store and that of Kafka, too."""
        read = {event.event_id for event in history.events}
        late = [record.event_id for record in self._records if record.service == "otp" and record.event_id not in read]
        connection = await asyncpg.connect(self._stack.at.databases["otp"])
        try:
            rows = await connection.fetch("SELECT * FROM event WHERE event_id = ANY($1)", late)
        finally:
            await connection.close()
        history.events += [_event("otp", row) for row in rows]

    async def _read_kafka(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._stack.at.kafka, auto_offset_reset="earliest")
        await consumer.start()
        try:
            partitions = [TopicPartition(topic.name, n) for topic in TOPICS for n in range(topic.partitions)]
            consumer.assign(partitions)
            for partition, position in self._positions.items():
                consumer.seek(partition, position)
            ends = await consumer.end_offsets(partitions)
            while any([await consumer.position(partition) < end for partition, end in ends.items()]):
                for partition, records in (await consumer.getmany(timeout_ms=200)).items():
                    self._positions[partition] = records[-1].offset + 1
                    self._keep(partition.topic, records)
        finally:
            await consumer.stop()

    def _keep(self, topic: str, records: list[Any]) -> None:
        if topic in EVENT_TOPICS:
            self._records += [_record(topic.split(".")[1], record) for record in records]
        elif ".deadletters." in topic:
            self._dead_letters += len(records)


async def _left_in_outbox(connection: asyncpg.Connection) -> int:
    """What stays there: codes expire by themselves, and each event is there until its relay has published it."""
    deadline = asyncio.get_running_loop().time() + _PUBLISHED_WITHIN_S
    while left := await connection.fetchval("SELECT count(*) FROM outbox"):
        if asyncio.get_running_loop().time() > deadline:
            break
        await asyncio.sleep(0.05)
    return int(left)


async def _read_lockout(connection: asyncpg.Connection, history: History) -> None:
    for row in await connection.fetch("SELECT * FROM subject"):
        history.subjects[row["subject_id"]] = Subject(row["epoch"], row["strikes"], row["blocked_at"] is not None)
    history.open_attempts = await connection.fetchval("SELECT count(*) FROM attempt")


async def _read_notifier(connection: asyncpg.Connection, history: History) -> None:
    for row in await connection.fetch("SELECT * FROM message"):
        ids = row["notification_id"], row["cause_event_id"], row["cause_stream_id"]
        history.messages.append(Sms(*ids, row["kind"], row["state"], row["channel"] or ""))
        history.undelivered += row["due_at"] is not None
    history.parts = {row["smsc_message_id"]: row["notification_id"] for row in await connection.fetch("SELECT * FROM part")}


def _owners(history: History, subjects: dict[UUID, UUID]) -> dict[UUID, UUID]:
    """The handset's own codes, and an office's, stand under ids that follow from the account's."""
    accounts = {
        subject: one for one in history.accounts for subject in (one, uuid5(_HANDSETS, str(one)), uuid5(_OFFICES, str(one)))
    }
    return {code: accounts[subject] for code, subject in subjects.items() if subject in accounts}


def _event(service: str, row: asyncpg.Record) -> Event:
    envelope = ENVELOPES[service].FromString(row["data"])
    at: datetime = row["occurred_at"]
    return Event(
        service, row["stream_id"], row["version"], row["event_id"], row["type"], at.astimezone(UTC).timestamp(),
        row["data"], row["is_public"], envelope.meta, payload_of(envelope),
    )  # fmt: skip


def _record(service: str, record: Any) -> Record:
    envelope = ENVELOPES[service].FromString(record.value)
    meta = envelope.meta
    trace = (header(record.headers, "traceparent") or "").split("-")
    return Record(
        service, record.partition, record.offset, record.key.decode(), record.value, UUID(meta.stream_id), meta.version,
        UUID(meta.event_id), type_of(payload_of(envelope)), trace[1] if len(trace) > 1 else "",
        record.timestamp / 1000,
    )  # fmt: skip


def _texts(folder: Path) -> list[Text]:
    lines = (json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines())
    return [Text("+" + line["number"], line["text"], tuple(line["message_ids"])) for line in lines]


def _mails(folder: Path) -> list[tuple[UUID, Text]]:
    """With their notifications: a Message-ID says which."""
    lines = (json.loads(line) for path in folder.glob("*.jsonl") for line in path.read_text().splitlines())
    return [
        (UUID(line["headers"]["Message-ID"].strip("<>").partition("@")[0]), _mail(line["to"], line["text"], line["headers"]))
        for line in lines
    ]


def _mail(to: str, text: str, headers: dict[str, str]) -> Text:
    return Text(to.lower(), text, (headers["Message-ID"],))


def _which(hashed: str, candidates: list[str]) -> str | None:
    """The newest are tried first: the last one chosen is likely the present one."""
    for candidate in reversed(candidates):
        try:
            PasswordHasher().verify(hashed, candidate)
        except VerifyMismatchError:
            continue
        return candidate
    return None
