"""What a deliver_sm is: a receipt, or a subscriber's text. Pure."""

from dataclasses import dataclass, field

from services.notifier.smpp import text as sms
from services.notifier.smpp.codec import Pdu
from services.notifier.smpp.receipts import ESM_TYPE_MASK, Receipt, is_receipt, parse_receipt

_TON_INTERNATIONAL = 1


@dataclass(frozen=True, slots=True)
class InboundText:
    """A text from a handset. `source` is E.164 with its plus where the SMSC says that it is international."""

    source: str = field(repr=False)
    destination: str = field(repr=False)
    text: str = field(repr=False)


class NotYetReassembled(Exception):
    """A part of a longer text: refused, to be retried, until parts can be stored before the acknowledgement."""


class NotForUs(Exception):
    """A handset's own acknowledgement (SMPP 3.4 section 5.2.12, types 0x08, 0x10, 0x18): taken and ignored."""


def read_delivery(pdu: Pdu) -> Receipt | InboundText:
    """Raises ReceiptError or TextError (never readable), NotYetReassembled (later), NotForUs."""
    if is_receipt(pdu):
        return parse_receipt(pdu)
    esm_class = pdu.number("esm_class")
    if esm_class & ESM_TYPE_MASK:
        raise NotForUs
    body, part = sms.strip_header(pdu.octets("short_message") or pdu.octets("message_payload"), esm_class)
    if part is None:
        part = sms.concatenated(
            pdu.number("sar_msg_ref_num"), pdu.number("sar_total_segments"), pdu.number("sar_segment_seqnum")
        )
    if part is not None:
        raise NotYetReassembled
    return InboundText(
        source=_address(pdu, "source_addr", "source_addr_ton"),
        destination=_address(pdu, "destination_addr", "dest_addr_ton"),
        text=sms.decode(body, pdu.number("data_coding")),
    )


def _address(pdu: Pdu, name: str, ton: str) -> str:
    address = pdu.string(name)
    international = pdu.number(ton) == _TON_INTERNATIONAL and address.isdigit()
    return f"+{address}" if international else address
