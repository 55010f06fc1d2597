"""What a deliver_sm is: a receipt, or an SMS from a handset. Pure."""

from dataclasses import dataclass, field

from services.chassis.sms_coding import UCS2_CODINGS
from services.notifier.smpp import text as sms
from services.notifier.smpp.codec import Pdu
from services.notifier.smpp.receipts import ESM_TYPE_MASK, Receipt, is_receipt, parse_receipt

_TON_INTERNATIONAL = 1


@dataclass(frozen=True, slots=True)
class InboundSms:
    """A text from a handset, or a part of one. Readable, as far as a part alone can be.

    source: E.164 with its plus where the SMSC says that it is international. body: without header. part: None for a whole
    text. message_reference: what the sender's side counts messages with (SMPP 3.4 section 5.3.2.17), if the SMSC tells it.
    """

    source: str = field(repr=False)
    destination: str = field(repr=False)
    body: bytes = field(repr=False)
    data_coding: int
    part: sms.Concatenation | None = None
    message_reference: int | None = None


class Refused(Exception):
    """What a handler raises for an SMS that it will never take: the SMSC is told not to try again."""


class NotForUs(Exception):
    """A handset's own acknowledgement (SMPP 3.4 section 5.2.12, types 0x08, 0x10, 0x18): taken and ignored."""


def read_delivery(pdu: Pdu) -> Receipt | InboundSms:
    """Raises ReceiptError or TextError (never readable), NotForUs."""
    if is_receipt(pdu):
        return parse_receipt(pdu)
    esm_class = pdu.number("esm_class")
    if esm_class & ESM_TYPE_MASK:
        raise NotForUs
    body, part = sms.strip_header(pdu.octets("short_message") or pdu.octets("message_payload"), esm_class)
    if part is None:
        part = sms.concatenated(
            sms.ReferenceKind.SAR,
            pdu.number("sar_msg_ref_num"),
            pdu.number("sar_total_segments"),
            pdu.number("sar_segment_seqnum"),
        )
    data_coding = pdu.number("data_coding")
    _require_text(body, data_coding, whole=part is None)
    return InboundSms(
        source=_address(pdu, "source_addr", "source_addr_ton"),
        destination=_address(pdu, "destination_addr", "dest_addr_ton"),
        body=body,
        data_coding=data_coding,
        part=part,
        message_reference=pdu.number("user_message_reference") if "user_message_reference" in pdu.fields else None,
    )


def _require_text(body: bytes, data_coding: int, *, whole: bool) -> None:
    """Raises TextError. A part of UCS-2 may end within a character: only the whole can be read then."""
    if not body:
        raise sms.TextError("the text is empty")
    sms.decode(body if whole or data_coding not in UCS2_CODINGS else b"", data_coding)


def _address(pdu: Pdu, name: str, ton: str) -> str:
    address = pdu.string(name)
    international = pdu.number(ton) == _TON_INTERNATIONAL and address.isdigit()
    return f"+{address}" if international else address
