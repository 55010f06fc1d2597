"""Codes and how they are compared. Pure; a code is stored as its MAC alone (docs/architecture.md, Codes)."""

import hashlib
import hmac
import re
import secrets
from uuid import UUID

from zasov.events.v1.otp_event_pb2 import (
    OTP_PURPOSE_COMMANDED_PASSWORD,
    OTP_PURPOSE_OFFICE_PASSWORD,
    OTP_PURPOSE_OFFICE_SLIP,
    OTP_PURPOSE_PROPOSED_PASSWORD,
    OTP_PURPOSE_TEMPORARY_PASSWORD,
    OtpPurpose,
)

LENGTHS = (4, 6, 8)
# One-time passwords are guessed at by whoever knows the number, without a flow of his own: 40 bits and more, against 3 tries.
# Those of the site, the handset and the office differ in length: what is typed says which it is, and one guess tests one.
PASSWORD_LENGTHS: "dict[OtpPurpose.ValueType, int]" = {
    OTP_PURPOSE_TEMPORARY_PASSWORD: 8,
    OTP_PURPOSE_COMMANDED_PASSWORD: 10,
    OTP_PURPOSE_PROPOSED_PASSWORD: 10,
    OTP_PURPOSE_OFFICE_PASSWORD: 12,
    OTP_PURPOSE_OFFICE_SLIP: 12,
}
# Of a slip's password, what the office prints. Whoever has one half guesses at 30 bits, with 3 tries.
FIRST_HALF = 6
MAC_BYTES = 32
_FORM = re.compile(r"[0-9]{4,8}")
# Nothing that is mistaken for another when it is read off a handset.
_ALPHABET = "23456789ABCDEFGHJKLMNPQRSTUVWXYZ"


def new_code(digits: int) -> str:
    """Decimal digits, each code as likely as any other, leading zeros included."""
    return f"{secrets.randbelow(10**digits):0{digits}d}"


def new_password(characters: int) -> str:
    """Capitals and digits, 5 bits each."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(characters))


def new_tag() -> str:
    """Two digits that name a request in its message ("No. 47"), so that a subscriber with several knows which is which.

    Not a secret and not unique: it only tells apart what arrived within minutes.
    """
    return f"{secrets.randbelow(100):02d}"


def is_well_formed(text: str, purpose: "OtpPurpose.ValueType") -> bool:
    """Whether the text could be a code: 4, 6 or 8 decimal digits of ASCII; or a one-time password of that purpose."""
    if purpose in PASSWORD_LENGTHS:
        return len(text) == PASSWORD_LENGTHS[purpose] and set(text) <= set(_ALPHABET)
    return len(text) in LENGTHS and _FORM.fullmatch(text) is not None


def is_first_half(text: str, purpose: "OtpPurpose.ValueType") -> bool:
    """Whether that is what must be given with a purpose: a slip's first half, and nothing with any other."""
    return (len(text) == FIRST_HALF and set(text) <= set(_ALPHABET)) if purpose == OTP_PURPOSE_OFFICE_SLIP else not text


class CodeKey:
    """The server's key. Without it a stolen table of MACs can't be tried against all ten thousand codes."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def mac(self, challenge_id: UUID, code: str) -> bytes:
        """The challenge's id is in it, so that a MAC moved to another row is worth nothing there."""
        return hmac.digest(self._key, challenge_id.bytes + code.encode(), hashlib.sha256)

    def is_right(self, challenge_id: UUID, code: str, mac: bytes) -> bool:
        """In constant time."""
        return hmac.compare_digest(self.mac(challenge_id, code), mac)


def impossible_mac() -> bytes:
    """A decoy's: random, so that no code gives it but by a chance of 2**-256."""
    return secrets.token_bytes(MAC_BYTES)
