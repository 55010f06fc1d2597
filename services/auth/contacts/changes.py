"""What changes on file, and who is told: whoever is on file now, and whoever reads what is not on file any more (M11, M18).

Pure. A contact that is told for itself is kept, sealed, as the secret of its event, and in the notice until that is closed.
"""

from collections.abc import Sequence

from google.protobuf.message import Message
from zasov.events.v1.auth_event_pb2 import ContactChanged, ContactReplaced, EmailWarned

from services.auth.domain import decide_contact
from services.auth.vault import AccountVault, Contact
from services.chassis.eventstore import Fact, StoredEvents

_TOLD_OF = frozenset({ContactChanged.PART_PHONE, ContactChanged.PART_EMAIL})


def change_contact(vault: AccountVault, before: Contact, after: Contact, via: "ContactChanged.Via.ValueType") -> list[Fact]:
    """ContactChanged, and a ContactReplaced for each phone and email that is not on file any more; none if all is the same."""
    parts = {
        ContactChanged.PART_PHONE: before.phone != after.phone,
        ContactChanged.PART_EMAIL: before.email != after.email,
        ContactChanged.PART_LANGUAGE: before.language != after.language,
        ContactChanged.PART_NUMBER: before.numbers != after.numbers,
    }
    changed = [part for part, differs in parts.items() if differs]
    if not changed:
        return []
    facts = decide_contact(vault.close_contact(after), changed, via)
    if before.phone and before.phone != after.phone:
        facts.append(_replaced(vault, ContactChanged.PART_PHONE, Contact(before.phone, after.language)))
    if before.email and before.email != after.email:
        facts.append(_replaced(vault, ContactChanged.PART_EMAIL, Contact(None, after.language, before.email)))
    return facts


def warn_email(vault: AccountVault, contact: Contact, about: "EmailWarned.About.ValueType") -> list[Fact]:
    """For the email beside a phone: when that was lost, what is told to it alone reaches nobody but its thief (M18)."""
    if not (contact.phone and contact.email):
        return []
    return [Fact(EmailWarned(about=about), secret=vault.close_contact(Contact(None, contact.language, contact.email)))]


def is_told_of(event: Message) -> bool:
    """Whether it is told of (M20). A change of the language, or of a number in the operator's books, is not."""
    if isinstance(event, ContactChanged):
        return not _TOLD_OF.isdisjoint(event.changed)
    return isinstance(event, ContactReplaced | EmailWarned)


def told_apart_in(facts: Sequence[Fact], events: StoredEvents) -> tuple[list[object], list[bytes | None]]:
    """The events that tell another contact than notices go to, and that contact, sealed."""
    told_apart = ContactReplaced | EmailWarned
    found = [(i, f.secret) for i, f in zip(events.ids, facts, strict=True) if isinstance(f.payload, told_apart)]
    return [event_id for event_id, _ in found], [sealed for _, sealed in found]


def _replaced(vault: AccountVault, part: "ContactChanged.Part.ValueType", former: Contact) -> Fact:
    return Fact(ContactReplaced(part=part), secret=vault.close_contact(former))
