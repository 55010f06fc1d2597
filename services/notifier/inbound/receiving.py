"""From the SMSC's deliver_sm to the store: what returns has been committed, and is acknowledged."""

import asyncio
from collections.abc import Collection
from dataclasses import replace

from services.chassis.postgres import AWAY
from services.chassis.telemetry import error_name, logger
from services.notifier import metrics
from services.notifier.inbound.domain import Begins, Contradicts, Decision, Duplicate, Joins, Limited
from services.notifier.inbound.sealed import Sealer
from services.notifier.inbound.store import InboundStore
from services.notifier.smpp import InboundSms, Refused

# A command fits in two; what says that it has more is none.
MOST_PARTS = 4
_MOST_BYTES = 1024  # in a message_payload
_PHONE_DIGITS = range(7, 16)  # E.164 at most; a shorter one is a service, whose answers to ours would never end
_TIDY_EVERY_S = 10.0


class Receiving:
    """numbers: the operator's short numbers that commands are sent to."""

    def __init__(self, store: InboundStore, sealer: Sealer, numbers: Collection[str]) -> None:
        self._store = store
        self._sealer = sealer
        self._numbers = frozenset(numbers)

    async def receive(self, sms: InboundSms) -> None:
        """Returns when it is stored, or dropped. Raises Refused for what contradicts its text; AWAY: to be delivered again."""
        # Some SMSCs call a short number international.
        sms = replace(sms, destination=sms.destination.removeprefix("+"))
        outcome = self._not_for_us(sms)
        if outcome is None:
            decision = await self._store.take(self._sealer.seal(sms))
            outcome = _outcome_of(decision)
        metrics.INBOUND.labels(outcome).inc()
        if outcome == "contradicts":
            raise Refused

    def _not_for_us(self, sms: InboundSms) -> str | None:
        """Why it is dropped unread: a refusal would have the SMSC repeat it for days."""
        digits = sms.source.removeprefix("+")
        if sms.destination not in self._numbers:
            return "other_number"
        if not (digits.isascii() and digits.isdigit() and len(digits) in _PHONE_DIGITS):
            return "no_phone"
        if len(sms.body) > _MOST_BYTES or (sms.part is not None and sms.part.total > MOST_PARTS):
            return "too_long"
        return None


def _outcome_of(decision: Decision) -> str:
    match decision:
        case Begins(completes=True) | Joins(completes=True):
            return "received"
        case Begins() | Joins():
            return "part"
        case Duplicate():
            return "duplicate"
        case Contradicts():
            return "contradicts"
        case Limited():
            return "limited"


async def tidy_for_ever(store: InboundStore) -> None:
    while True:
        try:
            tidied = await store.tidy()
        except AWAY as error:
            logger().warning("inbound texts not tidied", error=error_name(error))
        else:
            metrics.INBOUND.labels("incomplete").inc(tidied.incomplete)
            metrics.INBOUND.labels("expired").inc(tidied.expired)
        await asyncio.sleep(_TIDY_EVERY_S)
