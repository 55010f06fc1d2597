"""Contacts, masked (M12): so much of them that their owner knows them again. And the like for whoever nobody is, made up
(docs/adr/0024).

Pure. Real and made-up masks are of one form and one length, and a made-up one stays the same for good.
"""

import re
from dataclasses import dataclass

from services.auth.contacts.destinations import Channel
from services.auth.identifiers import Identifier, Phone
from services.auth.vault import Contact

_WHOLE = 2**32
# How often, roughly, addresses of people begin so. Were all equal, an x or a q would most likely be made up.
_HOW_OFTEN = {
    14: "a",
    11: "s",
    10: "m",
    8: "k",
    7: "den",
    6: "v",
    5: "irtpl",
    4: "obg",
    3: "jyz",
    2: "ufch",
    1: "wqx0123456789",
}
_FIRST = "".join(characters * times for times, characters in _HOW_OFTEN.items())
# An address is ASCII; its local part may begin with another character than these, its domain can't.
_LETTER_OR_DIGIT = re.compile("[a-z0-9]")


@dataclass(frozen=True, slots=True)
class Masked:
    """A contact. Not shown in a repr."""

    channel: Channel
    mask: str

    def __repr__(self) -> str:
        return "Masked(…)"


@dataclass(frozen=True, slots=True)
class Shares:
    """Of those who are made up, 0 to 1. email: that have an email. phone: that have a phone, of those asked for by a number
    of the books; without a phone they have an email.
    """

    email: float
    phone: float


def masked(contact: Contact) -> list[Masked]:
    """The phone first; empty if nothing is on file."""
    phone = [_phone(contact.phone.e164[-2:])] if contact.phone else []
    found = _LETTER_OR_DIGIT.search(contact.email.lower())
    return [*phone, *([_email(found[0])] if found else [])]


def made_up(decoy: bytes, identifier: Identifier, shares: Shares) -> list[Masked]:
    """decoy: 32 bytes that follow from the identifier, and from nothing that anybody knows outside."""
    digits = f"{int.from_bytes(decoy[0:4], 'big') % 100:02d}"
    letter = _FIRST[int.from_bytes(decoy[4:8], "big") % len(_FIRST)]
    has_phone = _below(decoy[8:12], shares.phone)
    if isinstance(identifier, Phone):
        digits, has_phone = identifier.e164[-2:], True
    phone = [_phone(digits)] if has_phone else []
    return [*phone, *([_email(letter)] if not has_phone or _below(decoy[12:16], shares.email) else [])]


def _below(four: bytes, share: float) -> bool:
    return int.from_bytes(four, "big") < share * _WHOLE


def _phone(digits: str) -> Masked:
    return Masked(Channel.PHONE, f"***{digits}")


def _email(letter: str) -> Masked:
    return Masked(Channel.EMAIL, f"{letter}***@***")
