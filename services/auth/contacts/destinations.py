"""Where a code goes: one of the contacts on file, as the subscriber chooses (M11, M12)."""

from dataclasses import dataclass
from enum import StrEnum

from services.auth.identifiers import Phone
from services.auth.vault import Contact


class Channel(StrEnum):
    """How a message travels."""

    PHONE = "phone"
    EMAIL = "email"


@dataclass(frozen=True, slots=True)
class Destination:
    """Exactly one of phone and email (all ASCII) is given. language: "ru" or "en". Not shown in a repr."""

    language: str
    phone: Phone | None = None
    email: str = ""

    def __repr__(self) -> str:
        return "Destination(…)"


def chosen(contact: Contact, channel: Channel | None, language: str) -> Destination | None:
    """None: no such contact is on file. channel: None for the phone, or the email of who has no phone."""
    if channel is None:
        channel = Channel.PHONE if contact.phone else Channel.EMAIL
    if channel is Channel.PHONE:
        return Destination(language, phone=contact.phone) if contact.phone else None
    return Destination(language, email=contact.email) if contact.email else None
