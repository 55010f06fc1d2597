"""Customers as the operator's own systems know them (M12): an account, and all the identifiers that lead to it.

What touches an identifier and an account goes in steps that each stand alone: reserve, append, confirm. A crash in between
leaves what the same call, made again, completes.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID, uuid4

from zasov.events.v1.auth_event_pb2 import ContactChanged

from services.auth import errors
from services.auth.accounts import Accounts
from services.auth.domain import Account, decide_contact, decide_provisioning
from services.auth.identifiers import AccountNumber, ContractNumber, Identifier, Phone
from services.auth.passwords.admission import Lockout
from services.auth.passwords.sign_in import tell_new_version
from services.auth.vault import Contact
from services.chassis.errors import unavailable
from services.chassis.eventstore import Conflict
from services.chassis.shielded import Shielded


@dataclass(frozen=True)
class Subscriber:
    """A customer. phone, email (all ASCII; empty for none): where they are reached. language: "ru", "en" or empty."""

    phone: Phone | None
    email: str
    numbers: tuple[AccountNumber | ContractNumber, ...]
    language: str

    @property
    def identifiers(self) -> list[Identifier]:
        """The phone first. Were it confirmed last, a crash could leave a new account that is found, and whose codes go to a
        number that anybody may still register.
        """
        return [*([self.phone] if self.phone else []), *self.numbers]

    def __repr__(self) -> str:
        return "Subscriber(…)"


def filled_in(contact: Contact, asked: Subscriber) -> tuple[Contact, list["ContactChanged.Part.ValueType"]]:
    """The contact with what was missing, and what that was. Raises ServiceError CONTACT_ON_FILE."""
    differing = [
        name
        for name, differs in (
            ("phone", asked.phone and contact.phone and asked.phone != contact.phone),
            # Nobody has two mailboxes that differ in case alone.
            ("email", asked.email and contact.email and asked.email.lower() != contact.email.lower()),
        )
        if differs
    ]
    if differing:
        raise errors.contact_on_file(differing)
    added = tuple(one for one in asked.numbers if one not in contact.numbers)
    changed: list[ContactChanged.Part.ValueType] = []
    if asked.phone and not contact.phone:
        contact, changed = replace(contact, phone=asked.phone), [*changed, ContactChanged.PART_PHONE]
    if asked.email and not contact.email:
        contact, changed = replace(contact, email=asked.email), [*changed, ContactChanged.PART_EMAIL]
    if added:
        contact, changed = replace(contact, numbers=(*contact.numbers, *added)), [*changed, ContactChanged.PART_NUMBER]
    return contact, changed


class Provisioning:
    """Errors of the database pass through."""

    def __init__(self, accounts: Accounts, lockout: Lockout, default_language: str, shielded: Shielded) -> None:
        self._accounts = accounts
        self._lockout = lockout
        self._default_language = default_language
        self._shielded = shielded

    async def put(self, asked: Subscriber) -> tuple[UUID, bool]:
        """The account that they all lead to, and whether it was made. Raises ServiceError IDENTIFIER_TAKEN, CONTACT_ON_FILE,
        unavailable.

        It goes on though the caller hangs up, so that a crash alone leaves steps undone.
        """
        return await asyncio.shield(self._shielded.start(self._put(asked)))

    async def _put(self, asked: Subscriber) -> tuple[UUID, bool]:
        found = [await self._accounts.resolve(one) for one in asked.identifiers]
        owners = {account_id for account_id, _ in found if account_id}
        if len(owners) > 1:
            raise errors.identifier_taken()
        account_id = owners.pop() if owners else await self._left_unconfirmed(asked.identifiers)
        if account_id is None:
            return await self._make(asked, found[-1][1].now()), True
        await self._link(account_id, asked)
        return account_id, False

    async def _left_unconfirmed(self, identifiers: Sequence[Identifier]) -> UUID | None:
        """The account that an earlier call made, and crashed before it confirmed what leads there."""
        for identifier in identifiers:
            account_id = await self._accounts.reserved_for(identifier)
            loaded = await self._accounts.load(account_id) if account_id else None
            # One with a password is a registration's, and whoever chose it proved the number then, not now.
            if loaded is None or loaded.account.password:
                continue
            if identifier in loaded.vault.open_contact(loaded.account.contact).identifiers:
                return account_id
        return None

    async def _make(self, asked: Subscriber, now: datetime) -> UUID:
        account_id = uuid4()
        for done, identifier in enumerate(asked.identifiers):
            if await self._accounts.reserve_identifier(identifier, account_id) != account_id:
                for earlier in asked.identifiers[:done]:
                    await self._accounts.release_identifier(earlier, account_id)
                # Somebody got it since it was looked up, or is about to: the next call finds out who.
                raise unavailable()
        vault = await self._accounts.make_vault(account_id)
        contact = Contact(asked.phone, asked.language or self._default_language, asked.email, asked.numbers)
        await self._accounts.append(Account(account_id), decide_provisioning(vault.close_contact(contact)), now, None)
        await self._confirm(account_id, asked)
        await tell_new_version(self._lockout, account_id, 1)
        return account_id

    async def _link(self, account_id: UUID, asked: Subscriber) -> None:
        while True:
            loaded = await self._accounts.load(account_id)
            if loaded is None:
                raise unavailable()
            contact, changed = filled_in(loaded.vault.open_contact(loaded.account.contact), asked)
            for identifier in asked.identifiers:
                owner = await self._accounts.reserve_identifier(identifier, account_id)
                if owner is None:
                    raise unavailable()
                if owner != account_id:
                    raise errors.identifier_taken()
            if changed:
                facts = decide_contact(loaded.vault.close_contact(contact), changed, ContactChanged.VIA_OPERATOR)
                try:
                    await self._accounts.append(loaded.account, facts, loaded.time.now(), None)
                except Conflict:
                    continue
            # All of them, not only what was missing: confirming what is confirmed changes nothing.
            return await self._confirm(account_id, asked)

    async def _confirm(self, account_id: UUID, asked: Subscriber) -> None:
        for identifier in asked.identifiers:
            if not await self._accounts.confirm_identifier(identifier, account_id):
                raise unavailable()
