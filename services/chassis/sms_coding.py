"""How the body of an SMS says its text: 3GPP TS 23.038. Read by whoever hands a text on and by whoever acts on it."""

GSM = 0x00
ASCII = 0x01
LATIN_1 = 0x03
CYRILLIC = 0x06
UCS2 = 0x08
UCS2_CODINGS = frozenset({UCS2, 0x18})  # the other: of a message class

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
TO_GSM: dict[str, bytes] = {char: bytes([code]) for code, char in enumerate(_BASIC) if code != _ESCAPE} | {
    char: bytes([_ESCAPE, code]) for code, char in _EXTENSION.items()
}


class TextError(Exception):
    """A text that can't be sent or read. Never carries the text."""


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
