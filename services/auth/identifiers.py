"""What a subscriber types, and whom it stands for. Resolved once, at the edge (docs/architecture.md, rule 7)."""

import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

import phonenumbers

from services.chassis.errors import invalid
from services.chassis.pseudonyms import uuid_of

_LONGEST = 32


@dataclass(frozen=True)
class Phone:
    """A valid number. Its text never shows in a repr, and so in no log."""

    e164: str

    @property
    def range(self) -> str:
        """What it shares with the ten thousand numbers that differ in their last four digits."""
        return self.e164[:-4]

    def __repr__(self) -> str:
        return "Phone(…)"


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

    def of(self, phone: Phone) -> bytes:
        """32 bytes, the key of the identifier table."""
        return hmac.digest(self._key, f"phone:{phone.e164}".encode(), hashlib.sha256)

    def guard_of(self, phone: Phone) -> UUID:
        """Whom guesses are counted for while the number resolves to nothing. It does not start anew each month."""
        return uuid_of(hmac.digest(self._key, f"guard:{phone.e164}".encode(), hashlib.sha256))
