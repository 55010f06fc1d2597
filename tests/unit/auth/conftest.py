"""A guess with fakes on all sides, whose steps can be read off in order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from argon2 import PasswordHasher
from zasov.events.v1.meta_pb2 import Origin

from services.auth.accounts import Loaded
from services.auth.domain import Account, NewSession, decide_registration, decide_success, fold
from services.auth.passwords.guesses import Guess, Guesses, Settled
from services.auth.passwords.hashing import HashingLine
from services.auth.vault import Vaults
from services.chassis.clock import DatabaseTime
from services.chassis.sealing import new_key
from services.chassis.shielded import Shielded
from tests.fakes.auth_accounts import NOW, FakeAccounts, FakeHasher
from tests.fakes.auth_lockout import FakeLockout

PASSWORD = "Vesna-na-Volge-7"


@dataclass
class Bench:
    """One account with PASSWORD, version 1."""

    accounts: FakeAccounts
    lockout: FakeLockout
    hasher: FakeHasher
    line: HashingLine
    guesses: Guesses
    steps: list[str]
    shielded: Shielded
    may_start: Callable[[], bool] = lambda: True
    pseudonym: UUID = field(default_factory=uuid4)
    guard: UUID = field(default_factory=uuid4)

    async def guess(self, password: str = PASSWORD, known: bool = True, on_right: Any = None) -> Any:
        with self.line.reserve() as place:
            self.steps.append("reserve")
            guess = Guess(
                account_id=self.accounts.account.account_id if known else None,
                guard_id=self.guard,
                pseudonym=self.pseudonym,
                password=password,
                origin=Origin(),
                time=DatabaseTime.just_read(NOW),
                may_start=lambda: self.may_start(),
            )
            return await self.guesses.make(guess, place, on_right or self.succeed)

    async def succeed(self, current: Loaded, settled: Settled) -> str:
        session = NewSession(uuid4(), b"t" * 32, NOW)
        admission = settled.admission
        facts = decide_success(current.account, admission.epoch, admission.attempt_id, settled.forgiven, session, None)
        await self.accounts.append(current.account, facts, current.time.now(), Origin())
        return "signed in"

    def assert_nothing_held(self) -> None:
        assert self.line._taken == 0
        assert not self.line._by_subject


@pytest.fixture
def hasher() -> FakeHasher:
    return FakeHasher()


LineMaker = Callable[..., HashingLine]


@pytest.fixture
def new_line(hasher: FakeHasher) -> Iterator[LineMaker]:
    lines = []

    def make(places: int = 8, per_subject: int = 8, threads: int = 1) -> HashingLine:
        line = HashingLine(cast(PasswordHasher, hasher), threads, places, per_subject)
        lines.append(line)
        return line

    yield make
    hasher.gate.set()
    for line in lines:
        line.close()


@pytest.fixture
async def bench(new_line: LineMaker, hasher: FakeHasher) -> AsyncIterator[Bench]:
    account_id = uuid4()
    vault, _ = Vaults(new_key()).make(account_id)
    sealed = vault.close_password(hasher.hash(PASSWORD))
    account = fold(Account(account_id), decide_registration(b"contact", sealed, NewSession(uuid4(), b"", NOW)))
    steps: list[str] = hasher.steps
    accounts, lockout, line = FakeAccounts(account, vault, steps), FakeLockout(steps), new_line(places=16)
    shielded = Shielded()
    guesses = Guesses(cast(Any, accounts), lockout, line, shielded, has_office=False)
    made = Bench(accounts, lockout, hasher, line, guesses, steps, shielded)
    yield made
    hasher.gate.set()
    await shielded.drain()
    made.assert_nothing_held()


async def until(condition: Callable[[], object]) -> None:
    """Lets everything else run until the condition holds; 5 s at most."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # threads wake no task here
            await asyncio.sleep(0.001)
