"""What is sealed with an account's own key: the password's hash and the contact. Deleting the key erases both."""

import hashlib
import hmac
import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.auth.identifiers import AccountNumber, ContractNumber, Identifier, Phone, identifier_of
from services.chassis.sealing import Seal, new_key


@dataclass(frozen=True, slots=True)
class Contact:
    """Where a subscriber is reached, and in which language ("ru" or "en"); and by which numbers the account is found.

    phone: None for a customer without one. email: all ASCII, empty for none.
    """

    phone: Phone | None
    language: str
    email: str = ""
    numbers: tuple[AccountNumber | ContractNumber, ...] = ()

    @property
    def identifiers(self) -> list[Identifier]:
        """Whatever leads to the account. Its email doesn't: two customers may share one."""
        return [*([self.phone] if self.phone else []), *self.numbers]

    def __repr__(self) -> str:
        return "Contact(…)"


# Of somebody unknown, for whom as much is to be done as for a subscriber. No message ever goes there.
NOBODYS = Contact(Phone("+70000000000"), "ru", "s79160000000@example.com", (AccountNumber("600000000000"),))

# One must not pass for the other. Whose they are the key says: each account has its own.
_PASSWORD, _CONTACT, _DEVICE = b"password", b"contact", b"device"
_MARK_BYTES = 16


class AccountVault:
    """One account's seal."""

    def __init__(self, key: bytes) -> None:
        self._seal = Seal(key)
        # Of its own: what seals must not sign.
        self._device_key = hmac.digest(key, _DEVICE, hashlib.sha256)

    def mark_of_device(self, device_id: str) -> bytes:
        """16 bytes that tell one of the account's devices from another, and mean nothing elsewhere or without the key.

        Empty for a device without a name.
        """
        return hmac.digest(self._device_key, device_id.encode(), hashlib.sha256)[:_MARK_BYTES] if device_id else b""

    def close_password(self, hashed: str) -> bytes:
        return self._seal.close(hashed.encode(), _PASSWORD)

    def open_password(self, sealed: bytes) -> str:
        """Raises UnsealError."""
        return self._seal.open(sealed, _PASSWORD).decode()

    def close_contact(self, contact: Contact) -> bytes:
        # What there isn't is left out: an older process can open what names a phone alone.
        plain: dict[str, Any] = {"language": contact.language}
        if contact.phone:
            plain["phone"] = contact.phone.e164
        if contact.email:
            plain["email"] = contact.email
        if contact.numbers:
            plain["numbers"] = [[one.kind, one.text] for one in contact.numbers]
        return self._seal.close(json.dumps(plain).encode(), _CONTACT)

    def open_contact(self, sealed: bytes) -> Contact:
        """Raises UnsealError."""
        plain = json.loads(self._seal.open(sealed, _CONTACT))
        phone = Phone(plain["phone"]) if "phone" in plain else None
        numbers = [identifier_of(kind, text) for kind, text in plain.get("numbers", ())]
        return Contact(
            phone, plain["language"], plain.get("email", ""), tuple(one for one in numbers if not isinstance(one, Phone))
        )


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
