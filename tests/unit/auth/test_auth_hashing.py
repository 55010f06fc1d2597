"""The line in front of the hash: bounded, and nothing in it is evaluated without an admission."""

import asyncio
from contextlib import ExitStack
from typing import Any
from uuid import UUID, uuid4

import pytest
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError
from argon2.profiles import CHEAPEST

from services.auth.passwords.admission import Admission
from services.auth.passwords.hashing import HashingLine
from services.chassis.clock import boottime
from services.chassis.errors import ServiceError
from tests.fakes.auth_accounts import FakeHasher
from tests.unit.auth.conftest import until


def admission(within_s: float = 30) -> Admission:
    return Admission(uuid4(), 1, 2, boottime() + within_s)


def refused(error: ServiceError) -> None:
    assert (error.code.name, error.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    assert error.retry_after is not None
    assert error.retry_after.total_seconds() >= 0.1


def free(line: HashingLine) -> int:
    """How many places can still be had."""
    with ExitStack() as stack:
        for count in range(1000):
            try:
                stack.enter_context(line.reserve())
            except ServiceError:
                return count
    raise AssertionError("not bounded")


async def test_more_requests_than_places_are_refused_at_once_with_a_time_to_try_again(new_line: Any) -> None:
    line = new_line(places=3)
    with line.reserve(), line.reserve(), line.reserve():
        with pytest.raises(ServiceError) as caught:
            line.reserve()
        refused(caught.value)
    assert free(line) == 3


async def test_one_subscriber_cannot_take_the_whole_line(new_line: Any) -> None:
    line, one, other = new_line(places=9, per_subject=2), uuid4(), uuid4()
    with line.reserve() as a, line.reserve() as b:
        a.take_for(one)
        b.take_for(one)
        with line.reserve() as third:
            with pytest.raises(ServiceError) as caught:
                third.take_for(one)
            refused(caught.value)
            third.take_for(other)
        assert free(line) == 7
    with line.reserve() as again:
        again.take_for(one)
    assert not line._by_subject
    assert free(line) == 9


@pytest.mark.row("M21")
async def test_a_few_subscribers_who_take_all_they_can_leave_room_for_others(new_line: Any) -> None:
    line = new_line(places=128, per_subject=64)

    def takes_all_it_can(subject: UUID) -> int:
        for count in range(128):
            place = line.reserve()
            try:
                place.take_for(subject)
            except ServiceError:
                place.__exit__()
                return count
        raise AssertionError("took the whole line")

    assert [takes_all_it_can(uuid4()) for _ in range(5)] == [64, 32, 16, 8, 4]
    assert free(line) == 4
    line.reserve().take_for(uuid4())


@pytest.mark.parametrize("subject", [None, UUID(int=1)])
async def test_a_place_comes_back_whatever_ends_the_work(new_line: Any, subject: UUID | None) -> None:
    line = new_line(places=2, per_subject=1)

    async def fail(error: BaseException) -> None:
        with line.reserve() as place:
            if subject:
                place.take_for(subject)
            raise error

    for error in (ValueError(), asyncio.CancelledError(), ServiceError(None, "", "")):  # type: ignore[arg-type]
        with pytest.raises(type(error)):
            await fail(error)
    assert free(line) == 2
    assert not line._by_subject


async def test_a_place_stays_taken_until_the_work_that_goes_on_without_its_caller_has_ended(new_line: Any) -> None:
    line, subject = new_line(places=1, per_subject=1), uuid4()
    work = asyncio.get_running_loop().create_future()
    with line.reserve() as place:
        place.take_for(subject)
        place.keep_until(work)
    assert free(line) == 0
    work.set_result(None)
    await until(lambda: free(line) == 1)
    assert not line._by_subject


@pytest.mark.row("M3")
async def test_an_admission_is_good_for_one_evaluation(new_line: Any, hasher: FakeHasher) -> None:
    line, once = new_line(), admission()
    assert await line.verify(once, lambda: True, "1:right", "right") is True
    assert once.spent
    with pytest.raises(RuntimeError, match="one evaluation"):
        await line.verify(once, lambda: True, "1:right", "wrong")
    assert len(hasher.verified) == 1


async def test_what_may_not_start_when_its_turn_comes_is_never_evaluated(new_line: Any, hasher: FakeHasher) -> None:
    line, late = new_line(), admission()
    assert await line.verify(late, lambda: False, "1:right", "right") is None
    assert not late.spent
    assert not hasher.verified


async def test_whether_it_may_start_is_asked_when_the_turn_has_come_and_not_before(new_line: Any, hasher: FakeHasher) -> None:
    line, first, second = new_line(), admission(), admission()
    hasher.gate.clear()
    running = asyncio.create_task(line.verify(first, lambda: True, "1:right", "right"))
    await until(hasher.started.is_set)
    may_start = True
    waiting = asyncio.create_task(line.verify(second, lambda: may_start, "1:right", "right"))
    await asyncio.sleep(0)
    may_start = False
    hasher.gate.set()
    assert await running is True
    assert await waiting is None
    assert len(hasher.verified) == 1


async def test_a_wrong_password_is_an_answer_and_anything_else_an_error(new_line: Any) -> None:
    line = new_line()
    assert await line.verify(admission(), lambda: True, "1:right", "wrong") is False
    real = HashingLine(PasswordHasher.from_parameters(CHEAPEST), threads=1, places=1, per_subject=1)
    try:
        with pytest.raises(InvalidHashError):
            await real.verify(admission(), lambda: True, "not a hash", "right")
        with real.reserve() as place:
            hashed = await real.hash(place, "right")
        assert await real.verify(admission(), lambda: True, hashed, "right") is True
        assert await real.verify(admission(), lambda: True, hashed, "wrong") is False
    finally:
        real.close()


@pytest.mark.row("M3")
async def test_a_guess_at_nobody_costs_the_same_hash() -> None:
    line = HashingLine(PasswordHasher(2, 64, 1), threads=1, places=1, per_subject=1)
    try:
        with line.reserve() as place:
            hashed = await line.hash(place, "somebody's password")
        assert line.dummy_hash.rsplit("$", 2)[0] == hashed.rsplit("$", 2)[0] == "$argon2id$v=19$m=64,t=2,p=1"
        assert [len(part) for part in line.dummy_hash.split("$")] == [len(part) for part in hashed.split("$")]
        assert not line.needs_rehash(line.dummy_hash)
        assert line.needs_rehash(hashed.replace("t=2", "t=1"))
    finally:
        line.close()


@pytest.mark.row("M3")
async def test_an_admission_is_in_time_until_it_is_due_and_the_clock_counts_suspension(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("services.auth.passwords.admission.boottime", lambda: now)
    due = Admission(uuid4(), 1, 2, due_boottime=1030.0)
    assert due.in_time()
    now = 1030.0
    assert not due.in_time()
