"""What becomes of an SMS from a handset, without I/O and without a clock: a repetition, a part, a text, one too many.

The sender and the bytes are known by their MACs alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

DAY = timedelta(days=1)
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reference:
    """What marks the parts of one text of one sender. kind 0: a whole text, which has none."""

    kind: int = 0
    number: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """One SMS. number: from 1 to total. digest: of all that it says, its sender and its place included."""

    destination: str
    reference: Reference
    total: int
    number: int
    data_coding: int
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KnownPart:
    """digest: None once forgotten."""

    digest: bytes | None = field(repr=False)
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A text of the same sender that is still remembered. is_gathering: parts are missing."""

    inbound_id: UUID
    destination: str
    reference: Reference
    total: int
    data_coding: int
    is_gathering: bool
    parts: dict[int, KnownPart]

    def is_contradicted_by(self, sms: Arrived) -> bool:
        return (self.total, self.data_coding) != (sms.total, sms.data_coding) or sms.number in self.parts

    def remembers(self, sms: Arrived, repeat: timedelta, now: datetime) -> bool:
        return any(
            part.digest == sms.digest and (self.is_gathering or now - part.received_at < repeat) for part in self.parts.values()
        )


@dataclass(frozen=True, slots=True)
class Sender:
    """texts: when those of the last day came. told_at: when it was last published that they are too many."""

    texts: tuple[datetime, ...] = ()
    told_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decisions depend on.

    repeat: so long after an SMS an equal one is the SMSC's repetition; later it is the subscriber's own. assembly: a text
    whose parts have not all come by then is given up. lifetime: a command is not acted on later, counted from its first part.
    Raises ValueError for times that contradict each other.
    """

    per_hour: int
    per_day: int
    repeat: timedelta
    assembly: timedelta
    lifetime: timedelta

    def __post_init__(self) -> None:
        if not self.repeat <= self.lifetime >= self.assembly:
            raise ValueError("a text must live as long as it is waited for and recognised")


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Stored before: acknowledged once more, and nothing else."""


@dataclass(frozen=True, slots=True)
class Contradicts:
    """It can't be a part of the text that it says it belongs to: refused, and that text is left as it was."""


@dataclass(frozen=True, slots=True)
class Limited:
    """One too many: acknowledged and dropped. tell: it is published, too."""

    tell: bool


@dataclass(frozen=True, slots=True)
class Joins:
    inbound_id: UUID
    completes: bool


@dataclass(frozen=True, slots=True)
class Begins:
    """texts: the sender's, this one included."""

    completes: bool
    texts: tuple[datetime, ...]


Decision = Duplicate | Contradicts | Limited | Joins | Begins


def decide(sms: Arrived, known: Sequence[Known], sender: Sender, rules: Rules, now: datetime) -> Decision:
    """known: texts of this sender alone."""
    if any(text.remembers(sms, rules.repeat, now) for text in known):
        return Duplicate()
    for text in known:
        if text.is_gathering and (text.destination, text.reference) == (sms.destination, sms.reference):
            if text.is_contradicted_by(sms):
                return Contradicts()
            return Joins(text.inbound_id, completes=len(text.parts) + 1 == text.total)
    lately = tuple(at for at in sender.texts if now - at < DAY)
    within_hour = sum(now - at < _HOUR for at in lately)
    if within_hour >= rules.per_hour or len(lately) >= rules.per_day:
        return Limited(tell=sender.told_at is None or now - sender.told_at >= DAY)
    return Begins(completes=sms.total == 1, texts=(*lately, now))
