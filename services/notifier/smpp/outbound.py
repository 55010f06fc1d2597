"""A message as the submit_sm fields of its parts. Pure. SMPP 3.4 section 4.4.1."""

from services.notifier.smpp import text as sms
from services.notifier.smpp.codec import Fields

# Section 5.2.5 (TON) and 5.2.6 (NPI)
_INTERNATIONAL, _NETWORK_SPECIFIC, _ALPHANUMERIC = 1, 3, 5
_ISDN = 1
_SHORT_CODE_DIGITS = 6
_ADDRESS_DIGITS = 20
_ALPHANUMERIC_LIMIT = 11  # TS 23.040 9.1.2.5: eleven septets fill the field


class NotSendable(Exception):
    """A message that must not go on the wire (now, when `retryable`). Says which field, never what it holds."""

    def __init__(self, reason: str, *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retryable = retryable


def parts_of(*, destination: str, text: str, source: str, want_receipt: bool, reference: int) -> list[Fields]:
    """The fields of each part, validity aside (it shrinks while the message waits). Raises NotSendable."""
    try:
        split = sms.split(text, reference)
    except sms.TextError as error:
        raise NotSendable(str(error)) from None
    return [
        {
            **_destination(destination),
            **_source(source),
            "esm_class": split.esm_class,
            "data_coding": split.data_coding,
            "registered_delivery": 1 if want_receipt else 0,
            "short_message": body,
        }
        for body in split.bodies
    ]


def is_source(address: str) -> bool:
    """Whether it can be the sender of a message."""
    try:
        _source(address)
    except NotSendable:
        return False
    return True


def _destination(address: str) -> Fields:
    digits = address.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _ADDRESS_DIGITS):
        raise NotSendable("the destination is not a number")
    return {"dest_addr_ton": _INTERNATIONAL, "dest_addr_npi": _ISDN, "destination_addr": digits}


def _source(address: str) -> Fields:
    digits = address.removeprefix("+")
    if digits.isascii() and digits.isdigit() and len(digits) <= _ADDRESS_DIGITS:
        short = len(digits) <= _SHORT_CODE_DIGITS and digits == address
        ton, npi = (_NETWORK_SPECIFIC, 0) if short else (_INTERNATIONAL, _ISDN)
        return {"source_addr_ton": ton, "source_addr_npi": npi, "source_addr": digits}
    if not (address.isascii() and address.isprintable() and 0 < len(address) <= _ALPHANUMERIC_LIMIT):
        raise NotSendable("the source is neither a number nor a name of up to 11 characters")
    return {"source_addr_ton": _ALPHANUMERIC, "source_addr_npi": 0, "source_addr": address}
