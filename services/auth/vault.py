"""What is sealed with an account's own key: the password's hash and the contact. Deleting the key erases both."""

import json
from dataclasses import dataclass
from uuid import UUID

from services.auth.identifiers import Phone
from services.chassis.sealing import Seal, new_key


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a subscriber is reached, and in which language ("ru" or "en")."""

    phone: Phone
    language: str


# One must not pass for the other. Whose they are the key says: each account has its own.
_PASSWORD, _CONTACT = b"password", b"contact"


class AccountVault:
    """One account's seal."""

    def __init__(self, key: bytes) -> None:
        self._seal = Seal(key)

    def close_password(self, hashed: str) -> bytes:
        return self._seal.close(hashed.encode(), _PASSWORD)

    def open_password(self, sealed: bytes) -> str:
        """Raises UnsealError."""
        return self._seal.open(sealed, _PASSWORD).decode()

    def close_contact(self, contact: Contact) -> bytes:
        plain = json.dumps({"phone": contact.phone.e164, "language": contact.language})
        return self._seal.close(plain.encode(), _CONTACT)

    def open_contact(self, sealed: bytes) -> Contact:
        """Raises UnsealError."""
        plain = json.loads(self._seal.open(sealed, _CONTACT))
        return Contact(Phone(plain["phone"]), plain["language"])


class Vaults:
    """Wraps each account's key with the service's."""

    def __init__(self, wrapping_key: bytes) -> None:
        self._seal = Seal(wrapping_key)

    def make(self, account_id: UUID) -> tuple[AccountVault, bytes]:
        """A new account's vault, and its wrapped key to be stored."""
        key = new_key()
        return AccountVault(key), self._seal.close(key, account_id.bytes)

    def open(self, account_id: UUID, wrapped: bytes) -> AccountVault:
        """Raises UnsealError."""
        return AccountVault(self._seal.open(wrapped, account_id.bytes))
