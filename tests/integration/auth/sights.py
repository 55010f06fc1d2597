"""What a caller sees of an answer, and what the answer cost, to be held against another's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import argon2
import asyncpg
import grpc
import pytest

from services.auth.passwords.hashing import HashingLine
from services.chassis import metrics
from services.chassis.outbox_relay import OutboxWaker
from tests.integration.auth.suite import refusal_of

Call = Callable[[], grpc.aio.UnaryUnaryCall]


@dataclass
class Work:
    """What an answer cost: statements by database, in each in their order; calls between services, hashes by their parameters,
    wakings of a relay.
    """

    statements: list[str] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    hashes: list[argon2.Parameters] = field(default_factory=list)
    wakings: int = 0


@dataclass
class Seen:
    """All that a caller sees: the answer, field by field without what is random or a time; metadata; the error's bytes."""

    fields: dict[str, Any]
    metadata: list[tuple[str, Any]]


def counting(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Counts from here on; to be called before the suite is started."""
    counted = Work()

    def statement(query: Any) -> None:
        # A relay is woken on its own, after the answer; asyncpg looks a type up once a connection.
        if not query.query.startswith("NOTIFY") and not any(word in query.query for word in ("typeinfo", "'jit'")):
            counted.statements.append(f"{query.conn_params.database}: {query.query.split()[0]}")

    async def listen(connection: Any) -> None:
        connection.add_query_logger(statement)

    create_pool = asyncpg.create_pool
    monkeypatch.setattr(asyncpg, "create_pool", lambda *args, **options: create_pool(*args, **options, init=listen))
    verify, wake = HashingLine.verify, OutboxWaker.wake

    async def verified(self: HashingLine, admission: Any, may_start: Any, hashed: str, password: str) -> bool | None:
        counted.hashes.append(argon2.extract_parameters(hashed))
        return await verify(self, admission, may_start, hashed, password)

    def woken(self: OutboxWaker) -> None:
        counted.wakings += 1
        wake(self)

    monkeypatch.setattr(HashingLine, "verify", verified)
    monkeypatch.setattr(OutboxWaker, "wake", woken)
    return counted


@contextmanager
def spent(work: Work) -> Iterator[Work]:
    """What is spent within."""
    before, one = _rpcs(), Work()
    work.statements.clear()
    work.hashes.clear()
    work.wakings = 0
    yield one
    after = _rpcs()
    one.statements = sorted(work.statements, key=lambda statement: statement.partition(":")[0])
    one.hashes, one.wakings = [*work.hashes], work.wakings
    one.calls = sorted(key for key, count in after.items() for _ in range(int(count - before.get(key, 0))))


def _rpcs() -> dict[tuple[str, ...], float]:
    samples = [sample for family in metrics.RPC_SECONDS.collect() for sample in family.samples]
    return {tuple(one.labels.values()): one.value for one in samples if one.name.endswith("_count")}


async def seen(make: Call) -> Seen:
    call = make()
    try:
        answer = await call
        fields = {path: _without_chance(value) for path, value in _flat(answer)}
    except grpc.aio.AioRpcError as error:
        refused = refusal_of(error)
        fields = {**vars(refused), "raw": len(refused.raw), "retry_s": refused.retry_s is not None}
        fields["metadata"] = {key: value for key, value in refused.metadata.items() if key != "retry_in_s"}
    metadata = [*(await call.initial_metadata() or ()), *(await call.trailing_metadata() or ())]
    return Seen(fields, [(key, len(value)) for key, value in metadata])


def _flat(message: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    for one, value in message.ListFields():
        if one.is_repeated:
            for index, each in enumerate(value):
                yield from _flat(each, f"{path}{one.name}[{index}].")
        elif one.message_type is not None and one.message_type.name != "Timestamp":
            yield from _flat(value, f"{path}{one.name}.")
        else:
            yield f"{path}{one.name}", value


def _without_chance(value: Any) -> Any:
    """A token's or a tag's length, a number as it is, a time as such."""
    return len(value) if isinstance(value, str) else value if isinstance(value, int) else type(value).__name__
