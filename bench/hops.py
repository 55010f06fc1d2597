"""Where the time of “forgot password” goes: the moments that the stores and the handset kept, told apart after all is over."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

import asyncpg

from devstack.handsets import HandsetMessage

# By the SMSC's id of the text: when its message was accepted, and the event that asked for it.
_ACCEPTED = """
    SELECT p.smsc_message_id AS id, m.cause_event_id, e.occurred_at FROM part p JOIN message m USING (notification_id)
    JOIN event e ON e.stream_id = m.notification_id AND e.type = 'MessageAccepted' WHERE p.smsc_message_id = ANY($1::text[])
"""
_ISSUED = "SELECT event_id, occurred_at FROM event WHERE event_id = ANY($1::uuid[])"


@dataclass(frozen=True, slots=True)
class Recovered:
    """One “forgot password”: the call, and when the caller had read the text."""

    asked_at: datetime
    text: HandsetMessage
    read_at: datetime

    @property
    def seconds(self) -> float:
        return (self.read_at - self.asked_at).total_seconds()


async def medians_ms(recovered: Sequence[Recovered], databases: dict[str, str]) -> dict[str, float]:
    """By leg, the median in ms. databases: URLs of otp's and the notifier's. All clocks are one machine's."""
    ids = [one.text.message_ids[0] for one in recovered]
    accepted = {row["id"]: row for row in await _fetch(databases["notifier"], _ACCEPTED, ids)}
    causes = [row["cause_event_id"] for row in accepted.values()]
    issued = {row["event_id"]: row["occurred_at"] for row in await _fetch(databases["otp"], _ISSUED, causes)}
    legs: dict[str, list[float]] = {}
    for one in recovered:
        row = accepted[one.text.message_ids[0]]
        moments = {
            "asked": one.asked_at,
            "to the code's issue: captcha, limits, otp": issued[row["cause_event_id"]],
            "commit, relay, Kafka, to the notifier": row["occurred_at"],
            "commit, claim, commit, SMPP, to the handset": one.text.received_at,
            "to whoever reads the handset": one.read_at,
        }
        names, times = list(moments)[1:], list(moments.values())
        for name, begun, ended in zip(names, times, times[1:], strict=False):
            legs.setdefault(name, []).append((ended - begun).total_seconds() * 1000)
    return {name: round(median(times), 1) for name, times in legs.items()}


async def _fetch(url: str, sql: str, ids: Sequence[object]) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql, ids))
    finally:
        await connection.close()
