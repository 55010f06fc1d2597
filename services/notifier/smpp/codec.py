"""The PDU boundary: `smpplib`'s codec with its traps closed. SMPP 3.4 sections 3.2 and 4.

Nothing but `PduError` leaves this module, and it never carries a byte of what it was given: addresses and texts
must not reach a log by way of an exception. What `smpplib` 2.2.4 does by itself, and why it is not used bare:

* it cuts over-long strings silently (a nine character password binds as eight): lengths are checked first;
* a string without its NUL makes it read from the start of the body again; a short body leaves fields unset;
* it trusts every TLV string to end in a NUL and every TLV number to have the size of the book, and peers break
  both rules: an id without its NUL would lose its last character;
* mutated input raises `struct.error`, `KeyError`, `UnknownCommandError` and more.
"""

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from smpplib import command_codes, consts, smpp
from smpplib.ptypes import ostr

Fields = Mapping[str, str | bytes | int | None]

HEADER_SIZE = 16
# The largest honest PDU is a message_payload of 64 KiB and change; what claims to be longer is not SMPP.
MAX_PDU_SIZE = 70_000
MAX_SHORT_MESSAGE = 254  # section 5.2.22
MAX_SEQUENCE = 0x7FFFFFFF  # section 5.1.4

GENERIC_NACK = 0x80000000
RESPONSE_BIT = 0x80000000

_COMMANDS = (
    "bind_transmitter",
    "bind_transmitter_resp",
    "bind_receiver",
    "bind_receiver_resp",
    "bind_transceiver",
    "bind_transceiver_resp",
    "submit_sm",
    "submit_sm_resp",
    "deliver_sm",
    "deliver_sm_resp",
    "unbind",
    "unbind_resp",
    "enquire_link",
    "enquire_link_resp",
    "generic_nack",
)


class PduError(Exception):
    """A PDU that could not be read or built. Says where, never what.

    `command_id`, `status` and `sequence` come from the header (0 where there was none), so that the peer can be
    answered.
    """

    def __init__(self, reason: str, *, command_id: int = 0, status: int = 0, sequence: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.command_id = command_id
        self.status = status
        self.sequence = sequence

    @property
    def is_response(self) -> bool:
        return bool(self.command_id & RESPONSE_BIT)


class FramingError(Exception):
    """The stream is not SMPP any more (an absurd length): there is no way back but a new connection."""


@dataclass(frozen=True, slots=True)
class Pdu:
    """One PDU. Its fields hold addresses and texts and are left out of the repr."""

    command: str
    sequence: int
    status: int = 0
    fields: Mapping[str, bytes | int] = field(default_factory=dict, repr=False)

    def number(self, name: str) -> int:
        """The integer field, 0 where absent."""
        value = self.fields.get(name, 0)
        return value if isinstance(value, int) else 0

    def octets(self, name: str) -> bytes:
        """The octet field, empty where absent."""
        value = self.fields.get(name, b"")
        return value if isinstance(value, bytes) else b""

    def string(self, name: str) -> str:
        """The C-octet string field. Any byte is a character of latin-1, so this can't fail."""
        return self.octets(name).decode("latin-1")


class _Stub:
    """What smpplib wants as a client; sequence numbers are ours to give."""

    sequence = 0

    def next_sequence(self) -> int:
        return 0


_STUB = _Stub()


class _Strict:
    """Laid over smpplib's command classes: reads by the lengths on the wire, and fails on what they don't cover."""

    params: Mapping[str, Any]
    sm_length: int

    def _parse_string(self, name: str, data: bytes, pos: int, length: int | None = None) -> tuple[bytes, int]:
        end = data.index(b"\0", pos)
        setattr(self, name, data[pos:end])
        return data, end + 1

    def _parse_ostring(self, name: str, data: bytes, pos: int, length: int | None = None) -> tuple[bytes, int]:
        end = pos + self.sm_length
        if end > len(data):
            raise ValueError("short_message is cut")
        setattr(self, name, data[pos:end])
        return data, end

    def parse_optional_params(self, data: bytes) -> None:
        pos = 0
        while pos < len(data):
            tag, length = struct.unpack_from(">HH", data, pos)
            value = data[pos + 4 : pos + 4 + length]
            if len(value) != length:
                raise ValueError("a TLV is cut")
            pos += 4 + length
            name = _TLV_NAMES.get(tag)
            param = self.params.get(name) if name is not None else None
            if name is None or param is None:
                continue
            if param.type is int:
                setattr(self, name, int.from_bytes(value, "big"))
            elif param.type is str:
                setattr(self, name, value.partition(b"\0")[0])
            elif param.type is ostr:
                setattr(self, name, value)


_TLV_NAMES: dict[int, str] = {tag: name for name, tag in consts.OPTIONAL_PARAMS.items()}


def _classes() -> dict[int, tuple[str, type[Any]]]:
    table: dict[int, tuple[str, type[Any]]] = {}
    for name in _COMMANDS:
        base = type(smpp.make_pdu(name, client=_STUB))
        table[command_codes.get_command_code(name)] = (name, type(f"Strict{base.__name__}", (_Strict, base), {}))
    return table


_CLASSES = _classes()


async def read_frame(reader: asyncio.StreamReader) -> bytes:
    """The next whole PDU as bytes. Raises FramingError, asyncio.IncompleteReadError or OSError."""
    prefix = await reader.readexactly(4)
    length = int.from_bytes(prefix, "big")
    if not HEADER_SIZE <= length <= MAX_PDU_SIZE:
        raise FramingError("a PDU of an impossible length")
    return prefix + await reader.readexactly(length - 4)


def decode(raw: bytes) -> Pdu:
    """Read one PDU. Raises PduError, and nothing else, whatever the bytes."""
    if len(raw) < HEADER_SIZE:
        raise PduError("shorter than a header")
    length, command_id, status, sequence = struct.unpack_from(">LLLL", raw)
    header = {"command_id": command_id, "status": status, "sequence": sequence}
    if length != len(raw):
        raise PduError("the length of the header is not the length of the PDU", **header)
    if command_id not in _CLASSES:
        raise PduError("unknown command", **header)
    name, cls = _CLASSES[command_id]
    try:
        parsed = cls(name, client=_STUB)
        parsed.parse(raw)
        fields = {
            key: value
            for key in parsed.params_order
            if isinstance(value := parsed.__dict__.get(key), bytes | int) and not isinstance(value, bool)
        }
        if not command_id & RESPONSE_BIT:
            _refuse_missing(parsed, fields)
    except Exception as error:  # the whole point of the boundary: smpplib may raise anything at all
        # `from None`: a UnicodeDecodeError, for one, carries the very bytes.
        raise PduError(f"undecodable {name} ({type(error).__name__})", **header) from None
    return Pdu(name, sequence, status, fields)


def _refuse_missing(parsed: Any, fields: Mapping[str, bytes | int]) -> None:
    """Requests carry every mandatory field; smpplib stops quietly where the body ends."""
    for name in parsed.params_order:
        if not parsed.field_is_optional(name) and name != "short_message" and name not in fields:
            raise ValueError("a mandatory field is missing")
    if fields.get("sm_length", 0) and "short_message" not in fields:
        raise ValueError("short_message is missing")


def encode(command: str, sequence: int, fields: Fields | None = None, *, status: int = 0) -> bytes:
    """Build one PDU. Strings are latin-1. Raises PduError on a value that the field can't hold; nothing is cut."""
    given = {name: value for name, value in (fields or {}).items() if value is not None}
    try:
        pdu = smpp.make_pdu(command, client=_STUB, status=status, **given)
        for name, value in given.items():
            _refuse_oversize(name, value, pdu.params[name])
        pdu.sequence = sequence
        raw: bytes = pdu.generate()
    except PduError:
        raise
    except Exception as error:
        raise PduError(f"{command} can't be built ({type(error).__name__})", sequence=sequence) from None
    return raw


def _refuse_oversize(name: str, value: str | bytes | int, param: Any) -> None:
    if isinstance(value, str):
        # `max` counts the NUL, which also must not occur inside: it would end the field early.
        if "\0" in value or len(value) >= param.max:
            raise PduError(f"{name} is too long or holds a NUL")
    elif isinstance(value, bytes):
        limit = MAX_SHORT_MESSAGE if name == "short_message" else 0xFFFF
        if len(value) > limit:
            raise PduError(f"{name} is too long")
