"""Delivery receipts: TLVs first (SMPP 3.4 sections 5.3.2.12 and 5.3.2.35), then the text form of appendix B.

The text form is "vendor specific", and vendors took that seriously: dates have 10 or 12 digits, `err` is decimal or
hexadecimal, fields go missing. Only the id is demanded. The `Text:` field repeats the message and is never kept.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum

from services.notifier.smpp.codec import Pdu

ESM_TYPE_MASK = 0x3C  # SMPP 3.4 section 5.2.12, bits 5-2
ESM_RECEIPT = 0x04
ESM_INTERMEDIATE = 0x20


class MessageState(IntEnum):
    """SMPP 3.4 section 5.2.28."""

    ENROUTE = 1
    DELIVERED = 2
    EXPIRED = 3
    DELETED = 4
    UNDELIVERABLE = 5
    ACCEPTED = 6
    UNKNOWN = 7
    REJECTED = 8

    @property
    def is_final(self) -> bool:
        """Whether nothing more is to be expected. ACCEPTED is final: someone read it on the subscriber's behalf."""
        return self is not MessageState.ENROUTE and self is not MessageState.UNKNOWN


class ReceiptError(Exception):
    """A receipt that names no message. Never carries its text."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """What the SMSC says became of one part.

    `error` is the network's code as written, hexadecimal or decimal. `done_at` is in the SMSC's own clock and zone,
    which it does not name: for display, never for decisions.
    """

    message_id: str
    state: MessageState
    error: str | None = None
    done_at: datetime | None = None


_ID = re.compile(r"\bid:\s*([^\s:]{1,64})", re.IGNORECASE)
_STAT = re.compile(r"\bstat:\s*([A-Za-z]+)", re.IGNORECASE)
_ERR = re.compile(r"\berr:\s*((?:0x)?[0-9A-Fa-f]{1,8})\b", re.IGNORECASE)
_DONE = re.compile(r"\bdone date:\s*(\d{12}|\d{10})(?!\d)", re.IGNORECASE)
_TEXT = re.compile(r"\btext:", re.IGNORECASE)

_STATES = {
    "ENR": MessageState.ENROUTE,
    "DELI": MessageState.DELIVERED,
    "EXP": MessageState.EXPIRED,
    "DELE": MessageState.DELETED,
    "UND": MessageState.UNDELIVERABLE,
    "ACC": MessageState.ACCEPTED,
    "UNK": MessageState.UNKNOWN,
    "REJ": MessageState.REJECTED,
}


def is_receipt(pdu: Pdu) -> bool:
    """Whether a deliver_sm is a receipt (or an intermediate notification) and not a subscriber's text."""
    kind = pdu.number("esm_class") & ESM_TYPE_MASK
    return kind in (ESM_RECEIPT, ESM_INTERMEDIATE) or "receipted_message_id" in pdu.fields


def parse_receipt(pdu: Pdu) -> Receipt:
    """Read a receipt. Raises ReceiptError when it names no message."""
    text = (pdu.octets("short_message") or pdu.octets("message_payload")).decode("latin-1")
    text = _TEXT.split(text, maxsplit=1)[0]  # so that nobody's text can pass for a field

    message_id = pdu.string("receipted_message_id") or _found(_ID, text)
    if not message_id:
        raise ReceiptError("a receipt without a message id")
    return Receipt(message_id, _state(pdu, text), _error(pdu, text), _done_at(text))


def _found(pattern: re.Pattern[str], text: str) -> str | None:
    match = pattern.search(text)
    return match.group(1) if match else None


def _state(pdu: Pdu, text: str) -> MessageState:
    try:
        return MessageState(pdu.number("message_state"))
    except ValueError:
        word = (_found(_STAT, text) or "").upper()
    return next((state for prefix, state in _STATES.items() if word.startswith(prefix)), MessageState.UNKNOWN)


def _error(pdu: Pdu, text: str) -> str | None:
    network = pdu.octets("network_error_code")
    if len(network) == 3:  # one octet of network type, two of code: section 5.3.2.31
        return network[1:].hex().upper()
    return _found(_ERR, text)


def _done_at(text: str) -> datetime | None:
    digits = _found(_DONE, text)
    if digits is None:
        return None
    try:
        return datetime.strptime(digits, "%y%m%d%H%M%S" if len(digits) == 12 else "%y%m%d%H%M")
    except ValueError:
        return None


def id_spellings(message_id: str) -> tuple[str, ...]:
    """How an id may be written in the response when the receipt writes it like this, the likeliest first.

    Some SMSCs answer the id in hexadecimal and write it in decimal in the receipt, or the other way round. Look the
    first up alone; only where nothing is found try the others, since they can be another message's.
    """
    spellings = [message_id]
    if message_id.isascii() and message_id.isdigit():
        value = f"{int(message_id):x}"
        spellings += [value, value.upper(), message_id.lstrip("0") or "0"]
    if re.fullmatch(r"[0-9A-Fa-f]+", message_id):
        spellings.append(str(int(message_id, 16)))
    return tuple(dict.fromkeys(spellings))
