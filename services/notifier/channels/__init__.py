"""Ways for a message to travel. A channel is an `id` and a `dispatch`; it knows no message's state."""

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol
from uuid import UUID

from services.notifier.domain import ChannelId


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What goes out. Kept in memory only, and not shown: destination and words are the subscriber's.

    notification_id: stays the same however often it is tried. subject, html: of an email, which has the text as its other part.
    reference: of an SMS, marks its parts among all that go to its number.
    """

    notification_id: UUID
    destination: str = field(repr=False)
    text: str = field(repr=False)
    validity: timedelta
    subject: str = field(repr=False, default="")
    html: str = field(repr=False, default="")
    reference: int = 0


@dataclass(frozen=True, slots=True)
class Taken:
    """The provider has it: one id a part, under which its receipts will come."""

    provider_id: str
    message_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PutOff:
    """Nothing went out, and a later try may succeed."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Nothing went out, and nothing will. status: the provider's, 0 if it was never asked."""

    status: int


@dataclass(frozen=True, slots=True)
class InDoubt:
    """It was on the wire, at least in part: it may arrive."""


Outcome = Taken | PutOff | Refused | InDoubt


class Channel(Protocol):
    id: ChannelId

    @property
    def is_up(self) -> bool:
        """Whether a dispatch has a chance now; messages wait while it hasn't."""

    async def wait_up(self, timeout_s: float) -> None:
        """Returns when it is up, or after the time."""

    async def dispatch(self, outgoing: Outgoing) -> Outcome:
        """Sends it. Never raises for what the provider or the network does."""
