"""Lockout's PostgreSQL: every rule of the three-strike protocol is one transaction under the subject's row lock."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from zasov.events.v1.lockout_event_pb2 import LockoutEvent

from services.chassis.eventstore import Fact, stamp, type_of
from services.chassis.outbox_relay import OutboxWaker
from services.chassis.postgres import Connection, Database
from services.chassis.protocol_trace import OFF, Line, ProtocolTrace
from services.lockout.domain import (
    STRIKES_TO_BLOCK,
    Attempt,
    Subject,
    SubjectKey,
    decide_abandoned,
    decide_epoch,
    decide_failure,
    decide_forgotten,
    decide_success,
    fold,
)
from services.lockout.penalties import ASKING_CODES, ASKING_FAILURES, REFUSING_CODES, REFUSING_FAILURES

SWEEP_BATCH = 100


@dataclass(frozen=True, slots=True)
class Admitted:
    epoch: int
    attempts_left: int


@dataclass(frozen=True, slots=True)
class Blocked:
    blocked_at: datetime
    epoch: int


@dataclass(frozen=True, slots=True)
class Limited:
    retry_after: timedelta


@dataclass(frozen=True, slots=True)
class CaptchaRequired:
    """A penalty lies on the number's range or on the whole system."""


@dataclass(frozen=True, slots=True)
class Full:
    """All places are taken by attempts whose outcome is not known yet."""


Admission = Admitted | Blocked | Limited | CaptchaRequired | Full


@dataclass(frozen=True, slots=True)
class Standing:
    """What the soft limits say of a code that is asked for. limited: for how long it is refused; None: it is not.
    asks_captcha, longer: for the sake of the number's range or the whole system. stream_there: whether they are kept at all.
    """

    limited: timedelta | None
    asks_captcha: bool
    longer: bool
    stream_there: bool


Decide = Callable[[Subject, Attempt], list[Fact]]


class LockoutStore:
    """Errors of the database pass through; nothing is half done."""

    def __init__(self, database: Database, waker: OutboxWaker, trace: ProtocolTrace = OFF) -> None:
        self._database = database
        self._waker = waker
        self._trace = trace

    async def admit(
        self, key: SubjectKey, attempt_id: UUID, pseudonyms: Sequence[str], captcha_settled: bool = False
    ) -> Admission:
        """Rule 2, once, without waiting."""
        with self._trace.step("admit", subject=key.subject_id, attempt=attempt_id) as line:
            row = await self._database.fetch_row(
                "SELECT *, CASE WHEN $11 THEN subject_now($1) END AS now"
                " FROM admit_attempt($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                key.subject_id, key.owner_id, key.credential, key.stranger, attempt_id, pseudonyms, REFUSING_FAILURES,
                ASKING_FAILURES, captcha_settled, STRIKES_TO_BLOCK, self._trace.on,
            )  # fmt: skip
            assert row is not None
            line.say(outcome=row["outcome"], **_now(row["now"]))
        match row["outcome"]:
            case "admitted":
                return Admitted(row["epoch"], row["attempts_left"])
            case "blocked":
                return Blocked(row["blocked_at"], row["epoch"])
            case "limited":
                return Limited(row["retry_after"])
            case "captcha":
                return CaptchaRequired()
            case _:
                return Full()

    async def settle_right(self, key: SubjectKey, attempt_id: UUID, earlier: Sequence[UUID]) -> bool:
        """Rule 7. False: the attempt was swept, voided or settled before."""
        with self._trace.step("settle_right", subject=key.subject_id, attempt=attempt_id, earlier=earlier) as line:
            row = await self._database.fetch_row(
                "SELECT found, CASE WHEN $4 THEN subject_now($1) END AS now FROM settle_right($1, $2, $3) AS found",
                key.subject_id,
                attempt_id,
                earlier,
                self._trace.on,
            )
            assert row is not None
            if row["found"] != "strikes":
                line.say(outcome=row["found"], **_now(row["now"]))
                return bool(row["found"] == "settled")
            async with self._waker.transaction() as connection:
                subject, version = await _lock(connection, key.subject_id)
                attempt = await _remove_attempt(connection, key.subject_id, attempt_id)
                if attempt is None or attempt.epoch != subject.epoch:
                    line.say(outcome="refused", **await self._now(connection, key.subject_id))
                    return False
                await connection.execute(
                    "DELETE FROM attempt WHERE subject_id = $1 AND attempt_id = ANY($2::uuid[])", key.subject_id, earlier
                )
                facts = decide_success(subject, attempt)
                await _append(connection, subject, version, facts)
                line.say(
                    outcome="settled",
                    events=[type_of(fact.payload) for fact in facts],
                    **await self._now(connection, key.subject_id),
                )
            return True

    async def give_back(self, subject_id: UUID, attempt_id: UUID) -> bool:
        """Rule 3: never evaluated, so the place is free again. False: it was not open."""
        with self._trace.step("give_back", subject=subject_id, attempt=attempt_id) as line:
            row = await self._database.fetch_row(
                "WITH gone AS (DELETE FROM attempt WHERE subject_id = $1 AND attempt_id = $2 RETURNING 1)"
                " SELECT count(*) AS gone, CASE WHEN $3 THEN subject_now($1) END AS now FROM gone",
                subject_id,
                attempt_id,
                self._trace.on,
            )
            assert row is not None
            line.say(outcome="gone" if row["gone"] else "nothing", **_now(row["now"]))
            return bool(row["gone"])

    async def record_failure(self, subject_id: UUID, attempt_id: UUID) -> None:
        """Rule 6: the stream's settling of a wrong guess. No row to remove: nothing happens."""
        with self._trace.step("failure", subject=subject_id, attempt=attempt_id) as line:
            async with self._waker.transaction() as connection:
                await self._close_as_wrong(connection, subject_id, attempt_id, decide_failure, line)

    async def sweep(self, age: timedelta) -> int:
        """Rule 8: turns the oldest attempts older than this into strikes, up to SWEEP_BATCH. One sweeper at a time.

        Returns how many it found.
        """
        with ExitStack() as lines:
            async with self._waker.transaction() as connection:
                if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtext('zasov lockout sweep'))"):
                    return 0
                lost = await connection.fetch(
                    "SELECT subject_id, attempt_id FROM attempt WHERE admitted_at < clock_timestamp() - $1::interval"
                    " ORDER BY admitted_at LIMIT $2",
                    age,
                    SWEEP_BATCH,
                )
                for row in lost:
                    subject_id, attempt_id = row["subject_id"], row["attempt_id"]
                    line = lines.enter_context(self._trace.step("abandon", subject=subject_id, attempt=attempt_id))
                    await self._close_as_wrong(connection, subject_id, attempt_id, decide_abandoned, line)
        return len(lost)

    async def forget_strangers(self, age: timedelta) -> int:
        """Rule 12: ends the longest blocks of identifiers that resolve to nothing, those older than this, up to SWEEP_BATCH.
        Returns how many it found; one that another server has ended meanwhile is left as it is.
        """
        found = await self._database.fetch(
            "SELECT subject_id FROM subject WHERE stranger AND blocked_at < clock_timestamp() - $1::interval"
            " ORDER BY blocked_at LIMIT $2",
            age,
            SWEEP_BATCH,
        )
        for row in found:
            async with self._waker.transaction() as connection:
                subject, version = await _lock(connection, row["subject_id"])
                await _append(connection, subject, version, decide_forgotten(subject))
        return len(found)

    async def raise_epoch(self, key: SubjectKey, epoch: int) -> int:
        """Rule 9. Returns the epoch held now."""
        # Mostly the stream tells what was told over gRPC already. It only grows, so that can be seen without the lock, which a
        # stream that is paused in the middle of a transaction would keep.
        held: int | None = await self._database.fetch_value("SELECT epoch FROM subject WHERE subject_id = $1", key.subject_id)
        if held is not None and held >= epoch:
            return held
        with self._trace.step("raise_epoch", subject=key.subject_id, to=epoch) as line:
            async with self._waker.transaction() as connection:
                await connection.execute(
                    "INSERT INTO subject (subject_id, owner_id, credential, stranger) VALUES ($1, $2, $3, $4)"
                    " ON CONFLICT DO NOTHING",
                    key.subject_id,
                    key.owner_id,
                    key.credential,
                    key.stranger,
                )
                subject, version = await _lock(connection, key.subject_id)
                facts = decide_epoch(subject, epoch)
                if facts:
                    await connection.execute("DELETE FROM attempt WHERE subject_id = $1", key.subject_id)
                    await _append(connection, subject, version, facts)
                line.say(outcome="raised" if facts else "nothing", **await self._now(connection, key.subject_id))
            return max(subject.epoch, epoch)

    async def subject_of(self, attempt_id: UUID) -> UUID | None:
        """Whose attempt it is; None: it is not open any more."""
        found: UUID | None = await self._database.fetch_value(
            "SELECT subject_id FROM attempt WHERE attempt_id = $1", attempt_id
        )
        return found

    async def still_open(self, attempt_ids: Sequence[UUID]) -> set[UUID]:
        rows = await self._database.fetch("SELECT attempt_id FROM attempt WHERE attempt_id = ANY($1::uuid[])", attempt_ids)
        return {row["attempt_id"] for row in rows}

    async def status(self, key: SubjectKey) -> tuple[Subject, int]:
        """The subject and its number of open attempts; zeros for one never seen."""
        row = await self._database.fetch_row(
            "SELECT *, (SELECT count(*) FROM attempt a WHERE a.subject_id = s.subject_id) AS open_attempts"
            " FROM subject s WHERE subject_id = $1",
            key.subject_id,
        )
        if row is None:
            return Subject(key), 0
        return Subject(key, row["epoch"], row["strikes"], row["blocked_at"]), row["open_attempts"]

    async def now(self) -> datetime:
        """The database's time."""
        now: datetime = await self._database.fetch_value("SELECT clock_timestamp()")
        return now

    async def beat(self, at: datetime) -> None:
        """The stream has handled what it sent itself at that time, by the database's clock."""
        await self._database.execute(
            "INSERT INTO stream_beat AS b (at) VALUES ($1)"
            " ON CONFLICT (only_one) DO UPDATE SET at = greatest(b.at, excluded.at)",
            at,
        )

    async def code_standing(self, pseudonyms: Sequence[str], stream_away_after: timedelta) -> Standing:
        row = await self._database.fetch_row(
            "SELECT max(until) FILTER (WHERE dimension = ANY($2::smallint[])) - clock_timestamp() AS limited,"
            " coalesce(bool_or(dimension = ANY($3::smallint[])), false) AS asks_captcha,"
            " coalesce(bool_or(dimension = ANY($4::smallint[])), false) AS longer,"
            " EXISTS (SELECT FROM stream_beat WHERE at > clock_timestamp() - $5::interval) AS stream_there"
            " FROM penalty WHERE pseudonym = ANY($1::text[]) AND until > clock_timestamp()",
            pseudonyms,
            REFUSING_CODES,
            ASKING_CODES,
            ASKING_CODES + ASKING_FAILURES,
            stream_away_after,
        )
        assert row is not None
        return Standing(*row)

    async def _close_as_wrong(
        self, connection: Connection, subject_id: UUID, attempt_id: UUID, decide: Decide, line: Line
    ) -> None:
        try:
            subject, version = await _lock(connection, subject_id)
        except LookupError:
            line.drop()
            return  # never admitted here, so there is no attempt either: the store was restored, or the event is not ours
        attempt = await _remove_attempt(connection, subject_id, attempt_id)
        facts = [] if attempt is None else decide(subject, attempt)
        await _append(connection, subject, version, facts)
        line.say(
            outcome="nothing" if attempt is None else "closed",
            events=[type_of(fact.payload) for fact in facts],
            **await self._now(connection, subject_id),
        )

    async def _now(self, connection: Connection, subject_id: UUID) -> dict[str, int]:
        if not self._trace.on:
            return {}
        return _now(await connection.fetchval("SELECT subject_now($1)", subject_id))


async def _append(connection: Connection, subject: Subject, version: int, facts: list[Fact]) -> None:
    if not facts:
        return
    now: datetime = await connection.fetchval("SELECT clock_timestamp()")
    events = stamp(LockoutEvent, subject.key.subject_id, version, facts, now)
    after = fold(subject, facts, now)
    await connection.execute(
        "SELECT append_subject($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        after.epoch,
        after.strikes,
        after.blocked_at,
        *events.arguments(),
    )


async def _lock(connection: Connection, subject_id: UUID) -> tuple[Subject, int]:
    """The subject and its version, locked until the transaction ends. Raises LookupError for one never seen."""
    row = await connection.fetchrow("SELECT * FROM subject WHERE subject_id = $1 FOR UPDATE", subject_id)
    if row is None:
        raise LookupError("no such subject")
    key = SubjectKey(row["owner_id"], row["credential"], row["stranger"])
    return Subject(key, row["epoch"], row["strikes"], row["blocked_at"]), row["version"]


async def _remove_attempt(connection: Connection, subject_id: UUID, attempt_id: UUID) -> Attempt | None:
    row = await connection.fetchrow(
        "DELETE FROM attempt WHERE subject_id = $1 AND attempt_id = $2 RETURNING epoch, admitted_at", subject_id, attempt_id
    )
    return None if row is None else Attempt(attempt_id, row["epoch"], row["admitted_at"])


def _now(answer: list[int] | None) -> dict[str, int]:
    """What `subject_now` answered, if it was asked: the place in the subject's order, and the subject there."""
    return dict(zip(("place", "version", "epoch", "strikes", "open"), answer or (), strict=answer is not None))
