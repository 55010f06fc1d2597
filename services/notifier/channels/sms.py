"""SMS over SMPP: submits, and what the SMSC hands over."""

import asyncio
from typing import Literal, Protocol

from services.notifier import metrics
from services.notifier.channels import InDoubt, Outcome, Outgoing, PutOff, Refused, Taken
from services.notifier.domain import ChannelId, PartState
from services.notifier.smpp import (
    BindRefused,
    InboundSms,
    MessageState,
    NotSent,
    Receipt,
    Sent,
    SmppClient,
    SmppSettings,
    Unknown,
)

ReceiptIds = Literal["as_answered", "decimal", "hexadecimal"]

_FINAL = {
    MessageState.DELIVERED: PartState.DELIVERED,
    # Someone read it on the subscriber's behalf (SMPP 3.4 section 5.2.28).
    MessageState.ACCEPTED: PartState.DELIVERED,
    MessageState.EXPIRED: PartState.EXPIRED,
    MessageState.DELETED: PartState.UNDELIVERABLE,
    MessageState.UNDELIVERABLE: PartState.UNDELIVERABLE,
    MessageState.REJECTED: PartState.UNDELIVERABLE,
}


class Receipts(Protocol):
    async def receive(self, smsc_id: str, smsc_message_id: str, state: PartState) -> bool: ...


class Texts(Protocol):
    async def receive(self, sms: InboundSms) -> None: ...


class SmsChannel:
    """One account at one SMSC. `smsc_id` names the space of its message ids."""

    id = ChannelId.SMS

    def __init__(
        self,
        settings: SmppSettings,
        receipts: Receipts,
        texts: Texts,
        *,
        smsc_id: str,
        source: str,
        receipt_ids: ReceiptIds = "as_answered",
    ) -> None:
        self.client = SmppClient(settings, self._on_receipt, texts.receive)
        self._receipts = receipts
        self._smsc_id = smsc_id
        self._source = source
        self._receipt_ids = receipt_ids

    @property
    def is_up(self) -> bool:
        return self.client.bound

    async def wait_up(self, timeout_s: float) -> None:
        try:
            await self.client.wait_bound(timeout_s)
        except BindRefused:
            # The operator must mend it; the client goes on trying, and asking it faster would not help.
            await asyncio.sleep(timeout_s)
        except TimeoutError:
            pass

    async def dispatch(self, outgoing: Outgoing) -> Outcome:
        outcome = await self.client.submit(
            destination=outgoing.destination, text=outgoing.text, source=self._source, validity=outgoing.validity
        )
        match outcome:
            case Sent(ids):
                return Taken(self._smsc_id, tuple(self._spelt(one, in_receipt=False) for one in ids))
            case NotSent(retryable=True):
                return PutOff()
            case NotSent(status=status):
                return Refused(status or 0)
            case Unknown():
                return InDoubt()

    async def _on_receipt(self, receipt: Receipt) -> None:
        """Returns when the receipt is committed: only then is it acknowledged."""
        state = _FINAL.get(receipt.state)
        if state is None:
            return
        found = await self._receipts.receive(self._smsc_id, self._spelt(receipt.message_id, in_receipt=True), state)
        metrics.RECEIPTS.labels(state, "yes" if found else "no").inc()

    def _spelt(self, message_id: str, *, in_receipt: bool) -> str:
        """Some SMSCs answer an id in hexadecimal and write it in decimal in the receipt, or the other way round.

        Set for each SMSC and not guessed: the other spelling of a small id is often another message's.
        """
        if self._receipt_ids == "as_answered":
            return message_id
        return one_spelling(message_id, 10 if in_receipt == (self._receipt_ids == "decimal") else 16)


def one_spelling(message_id: str, base: int) -> str:
    """An id that is a number, in one spelling whatever its base, case and leading zeros; any other as it is."""
    try:
        return str(int(message_id, base))
    except ValueError:
        return message_id
