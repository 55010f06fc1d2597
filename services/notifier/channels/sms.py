"""SMS over SMPP: by the first SMSC that can take a message, in order of preference (ADR 0030)."""

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta
from types import TracebackType
from typing import Self

from services.notifier.channels import Outcome, Outgoing, PutOff, Refused
from services.notifier.channels.smsc import Smsc
from services.notifier.domain import ChannelId


class SmsChannel:
    """A context manager. All of its SMSCs are bound all the time, so that receipts and texts come from each."""

    id = ChannelId.SMS

    def __init__(self, smscs: Sequence[Smsc]) -> None:
        self._smscs = tuple(smscs)

    async def __aenter__(self) -> Self:
        for smsc in self._smscs:
            smsc.client.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(smsc.client.close() for smsc in self._smscs))

    @property
    def is_up(self) -> bool:
        return any(smsc.is_up for smsc in self._smscs)

    async def wait_up(self, timeout_s: float) -> None:
        waits = [asyncio.create_task(smsc.wait_up(timeout_s)) for smsc in self._smscs]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)

    async def dispatch(self, outgoing: Outgoing) -> Outcome:
        """Each SMSC is asked once at most. What the last one said counts."""
        valid_until = _now() + outgoing.validity.total_seconds()
        outcome: Outcome = PutOff()
        untried = list(self._smscs)
        while (smsc := preferred(untried)) is not None:
            untried.remove(smsc)
            outcome = await smsc.submit(replace(outgoing, validity=timedelta(seconds=max(0.0, valid_until - _now()))))
            if not may_go_elsewhere(outcome):
                break
        return outcome


def preferred(smscs: Collection[Smsc]) -> Smsc | None:
    """The first that is up; one that is throttled or silent only if there is no other. None: none is up."""
    up = [smsc for smsc in smscs if smsc.is_up]
    return next((smsc for smsc in up if not smsc.is_held_up), up[0] if up else None)


def may_go_elsewhere(outcome: Outcome) -> bool:
    """Only what has certainly not been sent, and what another SMSC may see otherwise.

    A message in doubt may arrive: whether it is sent once more is decided by the policy of its kind and by nothing else.
    What no SMSC was asked for (status 0) can be sent by none.
    """
    match outcome:
        case PutOff():
            return True
        case Refused(status):
            return status != 0
        case _:
            return False


def _now() -> float:
    return asyncio.get_running_loop().time()
