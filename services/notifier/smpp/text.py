"""Texts as SMS: GSM 03.38 where it fits, else UCS-2; splitting and joining. 3GPP TS 23.040 9.2.3.24."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from services.chassis.sms_coding import GSM, TO_GSM, UCS2, TextError, decode

__all__ = [
    "ESM_UDHI", "GSM", "UCS2", "Concatenation", "ReferenceKind", "Split", "TextError", "concatenated", "decode", "join",
    "parts_count", "split", "strip_header",
]  # fmt: skip

ESM_UDHI = 0x40  # SMPP 3.4 section 5.2.12

_GSM_SINGLE, _GSM_PART = 160, 153  # septets
_UCS2_SINGLE, _UCS2_PART = 140, 134  # octets
_MAX_PARTS = 255


@dataclass(frozen=True, slots=True)
class Split:
    """A text ready for the wire: `bodies` are short_message values, headers included."""

    data_coding: int
    esm_class: int
    bodies: tuple[bytes, ...] = field(repr=False)


class ReferenceKind(IntEnum):
    """Who counted: equal references of two kinds are no more the same message than two different ones."""

    UDH_8_BIT = 1
    UDH_16_BIT = 2
    SAR = 3  # SMPP 3.4 section 5.3.2.22


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Which part of which message: references are reused, so the sender and the receiver belong to the key too."""

    kind: ReferenceKind
    reference: int
    total: int
    number: int  # from 1


def split(text: str, reference: int) -> Split:
    """Encode and split; `reference` (its low 8 bits) marks the parts of one message. Raises TextError.

    Splits between characters: neither an escape pair of GSM 03.38 nor a surrogate pair is torn.
    """
    coding, chars, single, per_part = _encode(text)
    if sum(map(len, chars)) <= single:
        return Split(coding, 0, (b"".join(chars),))
    parts = _pack(chars, per_part)
    if len(parts) > _MAX_PARTS:
        raise TextError("the text is too long")
    header = bytes([5, 0, 3, reference & 0xFF, len(parts)])
    return Split(coding, ESM_UDHI, tuple(header + bytes([i]) + part for i, part in enumerate(parts, start=1)))


def parts_count(text: str) -> int:
    """How many SMS the text costs. Raises TextError."""
    return len(split(text, 0).bodies)


def _encode(text: str) -> tuple[int, list[bytes], int, int]:
    if not text:
        raise TextError("the text is empty")
    try:
        return GSM, [TO_GSM[char] for char in text], _GSM_SINGLE, _GSM_PART
    except KeyError:
        pass
    try:
        return UCS2, [char.encode("utf-16-be") for char in text], _UCS2_SINGLE, _UCS2_PART
    except UnicodeEncodeError:
        # `from None`: that exception carries the text.
        raise TextError("the text holds half a character") from None


def _pack(chars: Iterable[bytes], per_part: int) -> list[bytes]:
    parts = [bytearray()]
    for char in chars:
        if len(parts[-1]) + len(char) > per_part:
            parts.append(bytearray())
        parts[-1] += char
    return [bytes(part) for part in parts]


def strip_header(body: bytes, esm_class: int) -> tuple[bytes, Concatenation | None]:
    """Take the user data header off: what is left, and the concatenation it tells. Raises TextError."""
    if not esm_class & ESM_UDHI:
        return body, None
    if not body or body[0] >= len(body):
        raise TextError("the user data header is cut")
    end = body[0] + 1
    concatenation: Concatenation | None = None
    pos = 1
    while pos + 2 <= end:
        element, length = body[pos], body[pos + 1]
        value = body[pos + 2 : pos + 2 + length]
        pos += 2 + length
        if pos > end:
            raise TextError("the user data header is cut")
        if element == 0x00 and length == 3:
            concatenation = concatenated(ReferenceKind.UDH_8_BIT, value[0], value[1], value[2])
        elif element == 0x08 and length == 4:
            concatenation = concatenated(ReferenceKind.UDH_16_BIT, int.from_bytes(value[:2], "big"), value[2], value[3])
    return body[end:], concatenation


def concatenated(kind: ReferenceKind, reference: int, total: int, number: int) -> Concatenation | None:
    """None for a total of 0 or 1: a plain message. Raises TextError for a number beyond its total.

    TS 23.040 9.2.3.24.1 would have impossible numbers ignored; but then half a command would pass for a whole one.
    """
    if total <= 1:
        return None
    if not 1 <= number <= total:
        raise TextError("a part that its message doesn't have")
    return Concatenation(kind, reference, total, number)


def join(parts: Mapping[int, bytes], data_coding: int) -> str:
    """Parts by number as one text. Joined as bytes first: senders do tear pairs. Raises TextError."""
    return decode(b"".join(parts[number] for number in sorted(parts)), data_coding)
