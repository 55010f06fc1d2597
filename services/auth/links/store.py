"""Links as PostgreSQL keeps them. A row whose password has been replaced is one that is over: it is never read."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.auth.accounts import Beside
from services.auth.links.domain import Link
from services.auth.vault import Contact, Vaults
from services.chassis.postgres import Database

_LIVE = "number_link l JOIN account a ON a.account_id = l.account_id AND a.credential_version = l.credential_version"


@dataclass(frozen=True, slots=True)
class Linked:
    """A link as its owner sees it. contact: what is on file now for the subscriber whose number it is."""

    link_id: UUID
    contact: Contact
    linked_at: datetime


def kept(link: Link, owner_id: UUID) -> Beside:
    """Written with the events that it comes from; an older one of the two gives way."""
    return Beside("keep_link($12, {}, {}, {}, {})", (owner_id, link.link_id, link.credential_version, link.linked_at))


def ended(link_id: UUID) -> Beside:
    return Beside("end_link($12, {})", (link_id,))


class Links:
    """Read after the account whose number it is: each change of a link is an event of it, so an append notices what came
    between.
    """

    def __init__(self, database: Database, vaults: Vaults) -> None:
        self._database = database
        self._vaults = vaults

    async def between(self, account_id: UUID, owner_id: UUID, credential_version: int) -> Link | None:
        """The one that the password of that version made, if it is still there."""
        row = await self._database.fetch_row(
            "SELECT link_id, credential_version, linked_at FROM number_link"
            " WHERE account_id = $1 AND owner_id = $2 AND credential_version = $3",
            account_id,
            owner_id,
            credential_version,
        )
        return None if row is None else Link(row["link_id"], row["credential_version"], row["linked_at"])

    async def account_of(self, link_id: UUID, owner_id: UUID) -> UUID | None:
        """Whose number it is. None: it is not this owner's, or over."""
        account_id: UUID | None = await self._database.fetch_value(
            f"SELECT l.account_id FROM {_LIVE} WHERE l.owner_id = $1 AND l.link_id = $2",  # noqa: S608
            owner_id,
            link_id,
        )
        return account_id

    async def of(self, owner_id: UUID) -> list[Linked]:
        """The oldest first. A subscriber who was erased is not among them."""
        rows = await self._database.fetch(
            f"SELECT l.account_id, l.link_id, l.linked_at, a.contact, k.wrapped FROM {_LIVE}"  # noqa: S608
            " JOIN account_key k ON k.account_id = l.account_id WHERE l.owner_id = $1 ORDER BY l.linked_at, l.link_id",
            owner_id,
        )
        return [
            Linked(
                row["link_id"],
                self._vaults.open(row["account_id"], row["wrapped"]).open_contact(row["contact"]),
                row["linked_at"],
            )
            for row in rows
        ]
