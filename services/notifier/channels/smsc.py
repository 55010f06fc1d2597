"""One account at one SMSC: what it makes of a message, and what it hands over."""

import asyncio
from dataclasses import dataclass
from typing import Literal, Protocol

from services.notifier import metrics
from services.notifier.channels import InDoubt, Outcome, Outgoing, PutOff, Refused, Taken
from services.notifier.domain import PartState
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


@dataclass(frozen=True, slots=True)
class SmscAccount:
    """name: how its settings begin, for metrics. smsc_id: names the space of its message ids. source: the sender."""

    name: str
    session: SmppSettings
    smsc_id: str
    source: str
    receipt_ids: ReceiptIds = "as_answered"


class Smsc:
    """Its client is started and closed by whoever holds it."""

    def __init__(self, account: SmscAccount, receipts: Receipts, texts: Texts) -> None:
        self.client = SmppClient(account.session, self._on_receipt, texts.receive)
        self._account = account
        self._receipts = receipts
        metrics.SMSC_BOUND.labels(account.name).set_function(lambda: float(self.is_up))

    @property
    def is_up(self) -> bool:
        return self.client.bound

    @property
    def is_held_up(self) -> bool:
        """Up, but another one should be asked first."""
        return self.client.held_up

    async def wait_up(self, timeout_s: float) -> None:
        try:
            await self.client.wait_bound(timeout_s)
        except BindRefused:
            # The operator must mend it; the client goes on trying, and asking it faster would not help.
            await asyncio.sleep(timeout_s)
        except TimeoutError:
            pass

    async def submit(self, outgoing: Outgoing) -> Outcome:
        outcome = self._read(
            await self.client.submit(
                destination=outgoing.destination,
                text=outgoing.text,
                source=self._account.source,
                validity=outgoing.validity,
                reference=outgoing.reference,
            )
        )
        metrics.SMSC_SUBMITS.labels(self._account.name, type(outcome).__name__).inc()
        return outcome

    def _read(self, outcome: Sent | NotSent | Unknown) -> Outcome:
        match outcome:
            case Sent(ids):
                return Taken(self._account.smsc_id, tuple(self._spelt(one, in_receipt=False) for one in ids))
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
        message_id = self._spelt(receipt.message_id, in_receipt=True)
        found = await self._receipts.receive(self._account.smsc_id, message_id, state)
        metrics.RECEIPTS.labels(state, "yes" if found else "no").inc()

    def _spelt(self, message_id: str, *, in_receipt: bool) -> str:
        """Some SMSCs answer an id in hexadecimal and write it in decimal in the receipt, or the other way round.

        Set for each SMSC and not guessed: the other spelling of a small id is often another message's.
        """
        receipt_ids = self._account.receipt_ids
        if receipt_ids == "as_answered":
            return message_id
        return one_spelling(message_id, 10 if in_receipt == (receipt_ids == "decimal") else 16)


def one_spelling(message_id: str, base: int) -> str:
    """An id that is a number, in one spelling whatever its base, case and leading zeros; any other as it is."""
    try:
        return str(int(message_id, base))
    except ValueError:
        return message_id
