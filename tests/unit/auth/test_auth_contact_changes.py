"""What changes on file, and whom it is told (M11, M18)."""

import pytest
from zasov.events.v1.auth_event_pb2 import ContactChanged, ContactReplaced, EmailWarned, PasswordChanged

from services.auth.contacts.changes import change_contact, is_told_of, warn_email
from services.auth.identifiers import AccountNumber, Phone
from services.auth.vault import AccountVault, Contact
from services.chassis.sealing import new_key

VAULT = AccountVault(new_key())
BEFORE = Contact(Phone("+79161234567"), "ru", "vera@example.com")


def changed(after: Contact, before: Contact = BEFORE) -> tuple[list[int], list[tuple[int, Contact]]]:
    """The parts that are said to be changed, and who is told that they are not on file any more."""
    facts = change_contact(VAULT, before, after, ContactChanged.VIA_OFFICE)
    first, *rest = facts
    assert isinstance(first.payload, ContactChanged)
    assert first.secret is not None
    assert VAULT.open_contact(first.secret) == after
    assert all(isinstance(fact.payload, ContactReplaced) for fact in rest)
    return list(first.payload.changed), [(f.payload.part, VAULT.open_contact(f.secret or b"")) for f in rest]  # type: ignore[attr-defined]


@pytest.mark.row("M18")
def test_a_phone_and_an_email_that_are_replaced_are_each_told_alone() -> None:
    parts, told = changed(Contact(Phone("+79161234568"), "en", "new@example.com"))
    assert parts == [ContactChanged.PART_PHONE, ContactChanged.PART_EMAIL, ContactChanged.PART_LANGUAGE]
    assert told == [
        (ContactChanged.PART_PHONE, Contact(BEFORE.phone, "en")),
        (ContactChanged.PART_EMAIL, Contact(None, "en", BEFORE.email)),
    ]


@pytest.mark.row("M18")
def test_an_email_is_warned_beside_a_phone_and_never_alone() -> None:
    (warned,) = warn_email(VAULT, BEFORE, EmailWarned.ABOUT_REQUEST)
    assert warned.payload == EmailWarned(about=EmailWarned.ABOUT_REQUEST)
    assert VAULT.open_contact(warned.secret or b"") == Contact(None, "ru", BEFORE.email)
    for alone in (Contact(BEFORE.phone, "ru"), Contact(None, "ru", BEFORE.email)):
        assert warn_email(VAULT, alone, EmailWarned.ABOUT_REQUEST) == [], "the notice itself goes there"


@pytest.mark.row("M11")
def test_what_is_new_and_what_is_gone_are_told_apart() -> None:
    assert changed(BEFORE, Contact(BEFORE.phone, "ru")) == ([ContactChanged.PART_EMAIL], [])
    gone = changed(Contact(BEFORE.phone, "ru"))
    assert gone == ([ContactChanged.PART_EMAIL], [(ContactChanged.PART_EMAIL, Contact(None, "ru", BEFORE.email))])


def test_what_is_the_same_is_no_change() -> None:
    assert change_contact(VAULT, BEFORE, Contact(*[BEFORE.phone, "ru", BEFORE.email]), ContactChanged.VIA_OPERATOR) == []


@pytest.mark.row("M20")
def test_of_a_language_or_a_number_in_the_books_nobody_is_told() -> None:
    after = Contact(BEFORE.phone, "en", BEFORE.email, (AccountNumber("123456789"),))
    assert changed(after) == ([ContactChanged.PART_LANGUAGE, ContactChanged.PART_NUMBER], [])
    assert not is_told_of(change_contact(VAULT, BEFORE, after, ContactChanged.VIA_OPERATOR)[0].payload)
    assert is_told_of(ContactChanged(changed=[ContactChanged.PART_PHONE]))
    assert is_told_of(ContactReplaced())
    assert not is_told_of(PasswordChanged())
