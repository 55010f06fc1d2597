"""Accounts (services/auth/accounts.py) in memory, as far as a guess needs them, and a hasher that one can hold up."""

import threading
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from argon2.exceptions import VerifyMismatchError
from zasov.events.v1.meta_pb2 import Origin

from services.auth.accounts import Loaded
from services.auth.domain import Account, NewSession, fold
from services.auth.vault import AccountVault
from services.chassis.clock import DatabaseTime
from services.chassis.eventstore import Conflict, Fact, type_of

NOW = datetime(2026, 3, 1, tzinfo=UTC)


async def _nothing() -> None:
    return None


@dataclass
class FakeAccounts:
    """One account. fail_load: raised by load. before_append: what somebody else does just before each append."""

    account: Account
    vault: AccountVault
    steps: list[str] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    strangers: dict[UUID, list[Fact]] = field(default_factory=dict)
    fail_load: BaseException | None = None
    fail_append: BaseException | None = None
    before_append: Callable[[], Awaitable[None]] = _nothing

    @property
    def kinds(self) -> list[str]:
        return [type_of(fact.payload) for fact in self.facts]

    def happens(self, facts: Sequence[Fact]) -> None:
        """Somebody else appends."""
        self.account = fold(self.account, facts)
        self.facts.extend(facts)

    async def load(self, account_id: UUID) -> Loaded | None:
        self.steps.append("load")
        if self.fail_load is not None:
            raise self.fail_load
        if account_id != self.account.account_id:
            return None
        return Loaded(self.account, self.vault, DatabaseTime.just_read(NOW))

    async def load_stranger(self, stranger_id: UUID) -> Loaded:
        self.steps.append("load")
        password = self.vault.close_password("$" * 97)
        nobody = Account(stranger_id, password=password, version=len(self.strangers.get(stranger_id, ())))
        return Loaded(nobody, self.vault, DatabaseTime.just_read(NOW))

    async def append(
        self, account: Account, facts: Sequence[Fact], now: datetime, origin: Origin | None, session: NewSession | None = None
    ) -> None:
        await self.before_append()
        self.steps.append("append")
        if self.fail_append is not None:
            raise self.fail_append
        if account.version != self.account.version:
            raise Conflict
        assert replace(account) == self.account, "decided on what was not loaded"
        self.happens(facts)

    async def append_guess(
        self, account: Account, facts: Sequence[Fact], now: datetime, origin: Origin, *, known: bool
    ) -> None:
        if known:
            await self.append(account, facts, now, origin)
            return
        await self.before_append()
        self.steps.append("append")
        stored = self.strangers.setdefault(account.account_id, [])
        if account.version != len(stored):
            raise Conflict
        stored.extend(facts)


@dataclass
class FakeHasher:
    """Stands for argon2's PasswordHasher. Each verification is noted, then waits for the gate, which is open at first."""

    steps: list[str] = field(default_factory=list)
    verified: list[tuple[str, str]] = field(default_factory=list)
    gate: threading.Event = field(default_factory=threading.Event)
    started: threading.Event = field(default_factory=threading.Event)
    cost: int = 1

    def __post_init__(self) -> None:
        self.gate.set()

    def hash(self, password: str) -> str:
        self.gate.wait(10)
        return f"{self.cost}:{password}"

    def verify(self, hashed: str, password: str) -> bool:
        self.steps.append("evaluate")
        self.verified.append((hashed, password))
        self.started.set()
        self.gate.wait(10)
        if hashed.partition(":")[2] != password:
            raise VerifyMismatchError
        return True

    def check_needs_rehash(self, hashed: str) -> bool:
        return hashed.partition(":")[0] != str(self.cost)
