"""SMS commands (M6): what a subscriber's text asks for, and doing it.

A sender can be forged, so a text sets no password and lifts no block by itself: it has an SMS sent to the number that it seems
to come from, and what stands in that SMS does.
"""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from zasov.events.v1.meta_pb2 import Origin

from services.auth import errors
from services.auth.accounts import Accounts, Loaded
from services.auth.domain import decide_help, decide_proposal
from services.auth.flows.temporary import TemporaryPasswords
from services.auth.passwords.hashing import HashingLine
from services.auth.passwords.policy import LONGEST, failed_rules, normalise
from services.auth.texts.inbound import INBOUND_VOID, InboundText, InboundTexts, NotReadable
from services.chassis.errors import ServiceError
from services.chassis.eventstore import Conflict, Fact
from services.chassis.telemetry import logger

_PASSWORD_WORDS = frozenset({"ПАРОЛЬ", "PAROL"})
_PROPOSAL = re.compile(r"25\s+(\S(?:.*\S)?)", re.DOTALL)
# No flow of otp refuses these for good: the subscriber has an SMS already, or too many.
_ALREADY_SERVED = frozenset({errors.COOL_DOWN, errors.CODE_BUDGET_SPENT})


@dataclass(frozen=True, slots=True)
class PasswordWanted:
    """A one-time password, please."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """This one as my password, please."""

    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NoCommand:
    """Something else."""


@dataclass(frozen=True, slots=True)
class ShortNumbers:
    """Where each command is sent to."""

    password: str
    proposal: str


def read_command(destination: str, text: str, numbers: ShortNumbers) -> PasswordWanted | Proposal | NoCommand:
    """Case and stray spaces don't matter, but within a proposed password."""
    stripped = text.strip()
    if destination == numbers.password and stripped.upper() in _PASSWORD_WORDS:
        return PasswordWanted()
    proposal = _PROPOSAL.fullmatch(stripped) if destination == numbers.proposal else None
    return Proposal(proposal[1]) if proposal and len(proposal[1]) <= LONGEST else NoCommand()


async def obey(texts: InboundTexts, commands: "Commands", inbound_id: UUID) -> None:
    """Claims a text, does what it says, and has it deleted. Raises ServiceError if it is to be tried again.

    A crash in between has it done again: then otp's cool-down lets no second SMS through, unless the first leads nowhere.
    """
    try:
        await commands.obey(await texts.claim(inbound_id))
    except NotReadable:
        logger().info("a text that is none")
    except ServiceError as error:
        if error.reason == INBOUND_VOID:
            return
        raise
    await texts.report(inbound_id)


@dataclass(frozen=True)
class Commands:
    """Obeys them. Texts of numbers that nobody has here are dropped: there is nobody to answer."""

    accounts: Accounts
    temporary: TemporaryPasswords
    line: HashingLine
    numbers: ShortNumbers

    async def obey(self, inbound: InboundText) -> None:
        """Raises ServiceError if it is to be tried again."""
        account_id, _ = await self.accounts.resolve(inbound.sender)
        if account_id is None:
            return
        match read_command(inbound.destination, inbound.text, self.numbers):
            case PasswordWanted():
                await self._send_one_time_password(inbound, account_id)
            case Proposal(password):
                await self._propose(inbound, account_id, normalise(password, "text"))
            case NoCommand():
                if await self.accounts.may_be_helped(account_id):
                    await self._append(account_id, decide_help())

    async def _propose(self, inbound: InboundText, account_id: UUID, password: str) -> None:
        failed = failed_rules(password)
        if failed and not await self.accounts.may_be_told_of_refusal(account_id):
            logger().info("a proposal against the policy, after others")
            return
        if not failed:
            with self.line.reserve() as place:
                hashed = await self.line.hash(place, password)
            if not await self._send_one_time_password(inbound, account_id, hashed):
                return
        await self._append(account_id, decide_proposal(failed))

    async def _send_one_time_password(self, inbound: InboundText, account_id: UUID, proposed: str = "") -> bool:
        try:
            await self.temporary.command(inbound.sender, account_id, Origin(), proposed)
        except ServiceError as error:
            if error.reason not in _ALREADY_SERVED:
                raise
            retry_in = error.retry_after or timedelta(0)
            if error.reason == errors.COOL_DOWN and not await self.temporary.is_under_way(inbound.sender, account_id, retry_in):
                # It was sent, and whoever sent it died before its flow was stored: it opens nothing.
                raise
            logger().info("an SMS command came too soon after another", reason=error.reason)
            return False
        return True

    async def _append(self, account_id: UUID, facts: list[Fact]) -> None:
        while True:
            loaded: Loaded | None = await self.accounts.load(account_id)
            if loaded is None:
                return
            try:
                await self.accounts.append(loaded.account, facts, loaded.time.now(), None)
            except Conflict:
                continue
            return
