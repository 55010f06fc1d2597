"""How the SMSC misbehaves on command, and what its receipts look like. Pure."""

from dataclasses import asdict, dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal

from services.notifier.smpp.codec import Fields
from services.notifier.smpp.receipts import ESM_RECEIPT, MessageState

ReceiptForm = Literal["text", "long_dates", "tlv_only", "hex_err", "decimal_id"]
RECEIPT_FORMS = ("text", "long_dates", "tlv_only", "hex_err", "decimal_id")
FOREVER = -1

_WORDS = {
    MessageState.DELIVERED: "DELIVRD",
    MessageState.EXPIRED: "EXPIRED",
    MessageState.DELETED: "DELETED",
    MessageState.UNDELIVERABLE: "UNDELIV",
    MessageState.ACCEPTED: "ACCEPTD",
    MessageState.UNKNOWN: "UNKNOWN",
    MessageState.REJECTED: "REJECTD",
}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """Counts are of the next submits, -1 is "until told otherwise"; delays are seconds."""

    response_delay_s: float = 0.0
    delivery_delay_s: float = 0.0
    refuse_count: int = 0  # answered with refuse_status, not kept
    refuse_status: int = 0x58  # throttled; 0x14 queue full; 0x400 and up vendors' own
    lose_count: int = 0  # neither kept nor answered
    drop_response_count: int = 0  # kept and delivered, not answered
    receipt_form: ReceiptForm = "text"
    answer_decimal_ids: bool = False  # and receipts write them in hexadecimal all the same
    one_id_a_text: bool = False  # all its parts are given the id of the first
    receipt_before_response: bool = False
    final_state: str = "DELIVERED"  # any other, and messages don't reach the handset
    ignore_enquire_link: bool = False
    twice: bool = False  # every answer to a submit and every delivery is sent a second time
    retry_s: float = 0.2  # before what the application did not acknowledge is sent again

    def changed(self, knobs: dict[str, Any]) -> "Behaviour":
        """Raises ValueError for a knob or a value that doesn't exist."""
        unknown = knobs.keys() - {item.name for item in fields(self)}
        if unknown:
            raise ValueError(f"no such knob: {', '.join(sorted(unknown))}")
        new = replace(self, **knobs)
        if new.receipt_form not in RECEIPT_FORMS:
            raise ValueError(f"receipt_form is one of {', '.join(RECEIPT_FORMS)}")
        if new.final_state not in MessageState.__members__:
            raise ValueError(f"final_state is one of {', '.join(MessageState.__members__)}")
        return new

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def receipt_fields(
    form: ReceiptForm, *, message_id: str, state: MessageState, submitted_at: datetime, done_at: datetime
) -> Fields:
    """The fields of a deliver_sm that are the receipt itself, addresses aside. SMPP 3.4 appendix B."""
    if form == "tlv_only":
        return {
            "esm_class": ESM_RECEIPT,
            "receipted_message_id": message_id,
            "message_state": int(state),
            "network_error_code": b"\x03\x00\x00" if state is MessageState.DELIVERED else b"\x03\x00\x1b",
        }
    dates = "%y%m%d%H%M%S" if form == "long_dates" else "%y%m%d%H%M"
    failed = "00B" if form == "hex_err" else "011"
    shown_id = str(int(message_id, 16)) if form == "decimal_id" else message_id
    delivered = state is MessageState.DELIVERED
    text = (
        f"id:{shown_id} sub:001 dlvrd:{'001' if delivered else '000'} submit date:{submitted_at:{dates}} "
        f"done date:{done_at:{dates}} stat:{_WORDS[state]} err:{'000' if delivered else failed} Text:"
    )
    return {"esm_class": ESM_RECEIPT, "short_message": text.encode("latin-1")}
