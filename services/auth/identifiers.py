"""What a subscriber types, and whom it stands for. Resolved once, at the edge (docs/architecture.md, rule 7)."""

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

import phonenumbers

from services.chassis.errors import invalid
from services.chassis.pseudonyms import uuid_of

_LONGEST = 32
_SEPARATORS = re.compile(r"[\s\-–—./№]+")
_ACCOUNT_NUMBER = re.compile(r"[0-9]{6,20}")
_CONTRACT_NUMBER = re.compile(r"(?=.*[0-9])[A-Z0-9]{4,20}")
# Letters that look the same: a contract is signed on paper, and typed from it on whichever keyboard.
_CYRILLIC = str.maketrans("АВЕКМНОРСТУХ", "ABEKMHOPCTYX")


@dataclass(frozen=True)
class Phone:
    """A valid number. Its text never shows in a repr, and so in no log."""

    kind: ClassVar[str] = "phone"
    e164: str

    @property
    def text(self) -> str:
        return self.e164

    @property
    def range(self) -> str:
        """What it shares with the ten thousand numbers that differ in their last four digits."""
        return self.e164[:-4]

    def __repr__(self) -> str:
        return "Phone(…)"


@dataclass(frozen=True)
class AccountNumber:
    """Of a customer in the operator's books (M12): 6 to 20 digits. Not shown in a repr."""

    kind: ClassVar[str] = "account_number"
    text: str

    @property
    def range(self) -> str:
        """As a phone's, and never a phone's."""
        return f"{self.kind}:{self.text[:-4]}"

    def __repr__(self) -> str:
        return "AccountNumber(…)"


@dataclass(frozen=True)
class ContractNumber:
    """Of a contract for home internet or TV (M12): 4 to 20 capital letters and digits. Not shown in a repr."""

    kind: ClassVar[str] = "contract_number"
    text: str

    @property
    def range(self) -> str:
        """As a phone's, and never a phone's."""
        return f"{self.kind}:{self.text[:-4]}"

    def __repr__(self) -> str:
        return "ContractNumber(…)"


Identifier = Phone | AccountNumber | ContractNumber
_KINDS: dict[str, type[Phone] | type[AccountNumber] | type[ContractNumber]] = {
    one.kind: one for one in (Phone, AccountNumber, ContractNumber)
}


def identifier_of(kind: str, text: str) -> Identifier:
    """One that was checked when it was stored. Raises KeyError for an unknown kind."""
    return _KINDS[kind](text)


def parse_phone(text: str, region: str, field: str = "phone") -> Phone:
    """From any usual spelling, `8 916 …` or `+7 (916) …` (M1), to E.164. Raises ServiceError INVALID_ARGUMENT."""
    wrong = invalid({field: "not a phone number"})
    if not text or len(text) > _LONGEST:
        raise wrong
    try:
        number = phonenumbers.parse(text, region)
    except phonenumbers.NumberParseException:
        raise wrong from None
    # An extension is a desk behind a switchboard: no handset to send to. parse() finds numbers in prose, too.
    if number.extension or any(character.isalpha() for character in text) or not phonenumbers.is_valid_number(number):
        raise wrong
    return Phone(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def parse_account_number(text: str, field: str = "account_number") -> AccountNumber:
    """Spaces, hyphens and the like between the digits don't matter. Raises ServiceError INVALID_ARGUMENT."""
    digits = _SEPARATORS.sub("", text) if len(text) <= _LONGEST else ""
    if not _ACCOUNT_NUMBER.fullmatch(digits):
        raise invalid({field: "must be 6 to 20 digits"})
    return AccountNumber(digits)


def parse_contract_number(text: str, field: str = "contract_number") -> ContractNumber:
    """Case and separators don't matter; Cyrillic letters pass for the Latin ones that look the same.

    Raises ServiceError INVALID_ARGUMENT.
    """
    number = _SEPARATORS.sub("", text).upper().translate(_CYRILLIC) if len(text) <= _LONGEST else ""
    if not _CONTRACT_NUMBER.fullmatch(number):
        raise invalid({field: "must be 4 to 20 letters and digits"})
    return ContractNumber(number)


def require_own_mobile(phone: Phone, region: str, field: str = "phone") -> None:
    """A registration sends an SMS to whatever number is given: not to a foreign or premium one, whose owner earns by it.

    Raises ServiceError INVALID_ARGUMENT.
    """
    number = phonenumbers.parse(phone.e164)
    mobile = (phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE_OR_MOBILE)
    if phonenumbers.region_code_for_number(number) != region or phonenumbers.number_type(number) not in mobile:
        raise invalid({field: "not a mobile number of this operator's country"})


class LookupKey:
    """Auth's own key, which never leaves it: the only way from an identifier to a row."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def of(self, identifier: Identifier) -> bytes:
        """32 bytes, the key of the identifier table."""
        return self._mac(f"{identifier.kind}:{identifier.text}")

    def guard_of(self, identifier: Identifier) -> UUID:
        """Whom guesses are counted for while it resolves to nothing. It does not start anew each month."""
        return uuid_of(self._mac(f"guard:{named(identifier)}"))

    def decoy_of(self, identifier: Identifier) -> bytes:
        """32 bytes that stay the same: what is made up for whoever asks about an identifier that resolves to nothing."""
        return self._mac(f"decoy:{named(identifier)}")

    def staff_mac(self, staff_id: str) -> bytes:
        """32 bytes that stay the same: the operator's member of staff."""
        return self._mac(f"staff:{staff_id}")

    def _mac(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def named(identifier: Identifier) -> str:
    """Tells an account number from a contract number of the same characters. A phone's plus sign is name enough."""
    return identifier.text if isinstance(identifier, Phone) else f"{identifier.kind}:{identifier.text}"
