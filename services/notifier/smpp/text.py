"""Texts as SMS: GSM 03.38 where it fits, else UCS-2; splitting and joining. 3GPP TS 23.038, TS 23.040 9.2.3.24."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

GSM = 0x00
ASCII = 0x01
LATIN_1 = 0x03
CYRILLIC = 0x06
UCS2 = 0x08

ESM_UDHI = 0x40  # SMPP 3.4 section 5.2.12

_GSM_SINGLE, _GSM_PART = 160, 153  # septets
_UCS2_SINGLE, _UCS2_PART = 140, 134  # octets
_MAX_PARTS = 255

_BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_ESCAPE = 0x1B
_EXTENSION = {
    0x0A: "\f",
    0x14: "^",
    0x28: "{",
    0x29: "}",
    0x2F: "\\",
    0x3C: "[",
    0x3D: "~",
    0x3E: "]",
    0x40: "|",
    0x65: "€",
}
_TO_GSM: dict[str, bytes] = {char: bytes([code]) for code, char in enumerate(_BASIC) if code != _ESCAPE} | {
    char: bytes([_ESCAPE, code]) for code, char in _EXTENSION.items()
}


class TextError(Exception):
    """A text that can't be sent or read. Never carries the text."""


@dataclass(frozen=True, slots=True)
class Split:
    """A text ready for the wire: `bodies` are short_message values, headers included."""

    data_coding: int
    esm_class: int
    bodies: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Which part of which message: references are reused, so the sender and the receiver belong to the key too."""

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
        return GSM, [_TO_GSM[char] for char in text], _GSM_SINGLE, _GSM_PART
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


def decode(body: bytes, data_coding: int) -> str:
    """A body without its header as text. Raises TextError for binary codings and for bytes that are no text."""
    try:
        if data_coding & 0xF0 == 0xF0:  # TS 23.038: message class; bit 2 tells 8-bit data from GSM 7-bit
            if data_coding & 0x04:
                raise TextError("8-bit data is not text")
            return _decode_gsm(body)
        match data_coding:
            case 0x00:
                return _decode_gsm(body)
            case 0x01:
                return body.decode("ascii")
            case 0x03:
                return body.decode("latin-1")
            case 0x06:
                return body.decode("iso-8859-5")
            case 0x08 | 0x18:
                return body.decode("utf-16-be")
    except UnicodeDecodeError:
        raise TextError("the bytes don't fit the coding") from None
    raise TextError("the coding is not a text")


def _decode_gsm(body: bytes) -> str:
    chars: list[str] = []
    escaped = False
    for code in body:
        if code >= 0x80:
            raise TextError("the bytes don't fit the coding")
        if escaped:
            # TS 23.038 6.2.1.1: an unknown extension shows as the basic character.
            chars.append(_EXTENSION.get(code, _BASIC[code] if code != _ESCAPE else " "))
            escaped = False
        elif code == _ESCAPE:
            escaped = True
        else:
            chars.append(_BASIC[code])
    return "".join(chars)


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
            concatenation = concatenated(value[0], value[1], value[2])
        elif element == 0x08 and length == 4:
            concatenation = concatenated(int.from_bytes(value[:2], "big"), value[2], value[3])
    return body[end:], concatenation


def concatenated(reference: int, total: int, number: int) -> Concatenation | None:
    """TS 23.040 9.2.3.24.1: an element with impossible numbers is ignored, and a total of 1 is a plain message."""
    return Concatenation(reference, total, number) if total > 1 and 1 <= number <= total else None


def join(parts: Mapping[int, bytes], data_coding: int) -> str:
    """Parts by number as one text. Joined as bytes first: senders do tear pairs. Raises TextError."""
    return decode(b"".join(parts[number] for number in sorted(parts)), data_coding)
