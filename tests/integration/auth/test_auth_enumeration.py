"""Known and unknown numbers are answered the same, and for the same work. Their times: `make test-enumeration`."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import argon2
import asyncpg
import grpc
import pytest
from zasov.auth.v1 import recovery_service_pb2, registration_service_pb2, sign_in_service_pb2

from services.auth.hashing import HashingLine
from services.chassis import metrics
from services.chassis.outbox_relay import OutboxWaker
from tests.integration.auth.conftest import StartSuite
from tests.integration.auth.suite import OTHER_PHONE, PASSWORD, PHONE, Suite, client, refusal_of

WRONG = "Wrong-1-password"
# Somebody's, with another language than the default; nobody's.
NUMBERS = {"known": PHONE, "unknown": OTHER_PHONE}


@dataclass
class Work:
    """What an answer cost: statements by database, calls between services, hashes by their parameters, wakings of a relay."""

    statements: list[str] = field(default_factory=list)
    calls: list[tuple[str, ...]] = field(default_factory=list)
    hashes: list[argon2.Parameters] = field(default_factory=list)
    wakings: int = 0


@dataclass
class Seen:
    """All that a caller sees: the answer, field by field without what is random or a time; metadata; the error's bytes."""

    fields: dict[str, Any]
    metadata: list[tuple[str, Any]]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Counts from here on; before the suite is started."""
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
    one.statements, one.hashes, one.wakings = [*work.statements], [*work.hashes], work.wakings
    one.calls = sorted(key for key, count in after.items() for _ in range(int(count - before.get(key, 0))))


def _rpcs() -> dict[tuple[str, ...], float]:
    samples = [sample for family in metrics.RPC_SECONDS.collect() for sample in family.samples]
    return {tuple(one.labels.values()): one.value for one in samples if one.name.endswith("_count")}


async def seen(make: "Call") -> Seen:
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
        if one.message_type is not None and one.message_type.name != "Timestamp":
            yield from _flat(value, f"{path}{one.name}.")
        else:
            yield f"{path}{one.name}", value


def _without_chance(value: Any) -> Any:
    """A token's or a tag's length, a number as it is, a time as such."""
    return len(value) if isinstance(value, str) else value if isinstance(value, int) else type(value).__name__


Call = Callable[[], grpc.aio.UnaryUnaryCall]
# Does what must come before, and says what to call.
Ask = Callable[[Suite, str], Awaitable[Call]]


def sign_in_call(suite: Suite, phone: str, password: str = WRONG) -> Call:
    request = sign_in_service_pb2.SignInRequest(phone=phone, password=password, client=client())
    return lambda: suite.auth.signing_in.SignIn(request, timeout=20)


def flow_call(suite: Suite, kind: str, method: str, **fields: str) -> Call:
    stub, pb = {
        "Registration": (suite.auth.registration, registration_service_pb2),
        "Recovery": (suite.auth.recovery, recovery_service_pb2),
    }[kind]
    request = getattr(pb, f"{method}Request")(client=client(), **fields)
    return lambda: getattr(stub, method)(request, timeout=20)


async def _sign_in(suite: Suite, phone: str) -> Call:
    return sign_in_call(suite, phone)


async def _sign_in_blocked(suite: Suite, phone: str) -> Call:
    await suite.wrong(3, phone)
    return sign_in_call(suite, phone, PASSWORD)


async def _sign_in_full(suite: Suite, phone: str) -> Call:
    for _ in range(3):
        await seen(sign_in_call(suite, phone))
    return sign_in_call(suite, phone)


def _start(kind: str) -> Ask:
    async def ask(suite: Suite, phone: str) -> Call:
        return flow_call(suite, kind, f"Start{kind}", phone=phone)

    return ask


def _confirm(kind: str, after: int) -> Ask:
    async def ask(suite: Suite, phone: str) -> Call:
        sent = await suite.auth.flow(kind).start(phone)
        wrong = flow_call(suite, kind, f"Confirm{kind}", grant=sent.grant, code="00000000")
        for _ in range(after):
            await seen(wrong)
        return wrong

    return ask


async def _another_code(suite: Suite, phone: str) -> Call:
    sent = await suite.auth.flow("Recovery").start(phone)
    return flow_call(suite, "Recovery", "SendRecoveryCodeAgain", grant=sent.grant)


async def _choose_without_right(suite: Suite, phone: str) -> Call:
    sent = await suite.auth.flow("Recovery").start(phone)
    return flow_call(suite, "Recovery", "ChooseRecoveryPassword", grant=sent.grant, password=PASSWORD)


async def _recover_too_soon(suite: Suite, phone: str) -> Call:
    await suite.auth.flow("Recovery").start(phone)
    return flow_call(suite, "Recovery", "StartRecovery", phone=phone)


async def _request_temporary(suite: Suite, phone: str) -> Call:
    request = recovery_service_pb2.RequestTemporaryPasswordRequest(phone=phone, client=client())
    return lambda: suite.auth.recovery.RequestTemporaryPassword(request, timeout=20)


async def _request_temporary_too_soon(suite: Suite, phone: str) -> Call:
    await suite.auth.request_temporary(phone)
    return await _request_temporary(suite, phone)


async def _use_temporary(suite: Suite, phone: str) -> Call:
    request = sign_in_service_pb2.SignInWithTemporaryPasswordRequest(
        phone=phone, temporary_password="22222222", client=client()
    )
    return lambda: suite.auth.signing_in.SignInWithTemporaryPassword(request, timeout=20)


async def _use_temporary_asked_for(suite: Suite, phone: str) -> Call:
    await suite.auth.request_temporary(phone)
    return await _use_temporary(suite, phone)


async def _use_temporary_for_the_fourth_time(suite: Suite, phone: str) -> Call:
    wrong = await _use_temporary_asked_for(suite, phone)
    for _ in range(3):
        await seen(wrong)
    return wrong


# A new answer joins with a line.
ASKED: dict[str, Ask] = {
    "sign-in": _sign_in,
    "sign-in, blocked": _sign_in_blocked,
    "sign-in, every place taken": _sign_in_full,
    "registration": _start("Registration"),
    "registration, wrong code": _confirm("Registration", after=0),
    "recovery": _start("Recovery"),
    "recovery, too soon": _recover_too_soon,
    "recovery, another code": _another_code,
    "recovery, wrong code": _confirm("Recovery", after=0),
    "recovery, third wrong code": _confirm("Recovery", after=2),
    "recovery, fourth wrong code": _confirm("Recovery", after=3),
    "recovery, password without a right code": _choose_without_right,
    "one-time password": _request_temporary,
    "one-time password, too soon": _request_temporary_too_soon,
    "one-time password, never asked for": _use_temporary,
    "one-time password, wrong": _use_temporary_asked_for,
    "one-time password, fourth wrong": _use_temporary_for_the_fourth_time,
}


@pytest.mark.row("B1")
@pytest.mark.parametrize("asked", ASKED)
async def test_an_answer_about_nobody_looks_the_same_and_costs_the_same(work: Work, start: StartSuite, asked: str) -> None:
    suite = await start(lockout={"admission_wait_s": 0}, otp={"cool_down_s": 300} if "too soon" in asked else {})
    await suite.register(NUMBERS["known"], language="en")
    costs, sights = {}, {}
    for who, phone in NUMBERS.items():
        call = await ASKED[asked](suite, phone)
        with spent(work) as costs[who]:
            sights[who] = await seen(call)
    assert sights["known"] == sights["unknown"]
    assert costs["known"] == costs["unknown"]
    assert costs["known"].calls
