"""What is shown of a contact, and what is made up for whoever nobody is (M12)."""

import hashlib
import string
from collections import Counter

import pytest

from services.auth.contacts.destinations import Channel
from services.auth.contacts.masks import Masked, Shares, made_up, masked
from services.auth.identifiers import AccountNumber, Identifier, LookupKey, Phone
from services.auth.provisioning import Subscriber, filled_in
from services.auth.vault import Contact
from services.chassis.errors import ServiceError

pytestmark = pytest.mark.row("M12")

LOOKUP = LookupKey(b"k" * 32)
PHONE = Phone("+79161234567")
HALF = Shares(email=0.5, phone=0.5)


def decoys(count: int, shares: Shares) -> list[list[Masked]]:
    made = []
    for number in range(count):
        identifier = AccountNumber(f"60{number:08d}")
        made.append(made_up(LOOKUP.decoy_of(identifier), identifier, shares))
    return made


def seen(shown: list[Masked]) -> list[tuple[str, str]]:
    return [(one.channel, one.mask) for one in shown]


@pytest.mark.parametrize(
    ("email", "mask"),
    [
        ("anna@example.com", "a***@***"),
        ("Zoe@example.com", "z***@***"),
        ("7days@example.com", "7***@***"),
        ("_o@example.com", "o***@***"),
        ("--@example.com", "e***@***"),
    ],
)
def test_of_an_email_its_first_letter_or_digit_is_shown_and_not_even_its_length(email: str, mask: str) -> None:
    assert seen(masked(Contact(None, "ru", email))) == [("email", mask)]


def test_of_a_phone_the_last_two_digits_are_shown_and_it_comes_first() -> None:
    assert seen(masked(Contact(PHONE, "ru", "a@example.com"))) == [("phone", "***67"), ("email", "a***@***")]
    assert masked(Contact(None, "ru", numbers=(AccountNumber("601234"),))) == []
    assert "67" not in repr(masked(Contact(PHONE, "ru")))


def test_what_is_made_up_follows_from_the_identifier_and_the_key_alone() -> None:
    identifier = AccountNumber("6012345678")
    made = {
        str(seen(made_up(LookupKey(bytes([key]) * 32).decoy_of(identifier), identifier, HALF)))
        for key in range(20)
        for _ in range(3)
    }
    assert 5 < len(made) <= 20, "who hasn't the key can't work it out"


@pytest.mark.parametrize("phone", ["+79161234500", "+79161234509", "+79161234599"])
def test_of_a_phone_that_was_typed_the_digits_are_those_that_were_typed(phone: str) -> None:
    identifier: Identifier = Phone(phone)
    for key in range(50):
        made = made_up(hashlib.sha256(bytes([key])).digest(), identifier, Shares(email=0.5, phone=0.0))
        assert made[0] == Masked(Channel.PHONE, f"***{phone[-2:]}"), "whatever the share of those without one"


def test_shares_of_those_who_are_made_up_are_as_they_are_set() -> None:
    shapes = Counter(tuple(one.channel for one in made) for made in decoys(4000, Shares(email=0.25, phone=0.8)))
    assert set(shapes) == {("phone",), ("email",), ("phone", "email")}, "nobody is without a contact"
    assert 0.75 < (shapes["phone",] + shapes["phone", "email"]) / 4000 < 0.85
    assert 0.21 < shapes["phone", "email"] / (shapes["phone",] + shapes["phone", "email"]) < 0.29
    assert {len(made) for made in decoys(500, Shares(email=1.0, phone=1.0))} == {2}
    assert {seen(made)[0][0] for made in decoys(500, Shares(email=0.0, phone=1.0))} == {"phone"}


def test_every_mask_that_is_real_could_be_made_up() -> None:
    made = [mask for shown in decoys(20_000, Shares(email=1.0, phone=1.0)) for _, mask in seen(shown)]
    assert set(made) >= {f"***{number:02d}" for number in range(100)}
    assert set(made) >= {f"{first}***@***" for first in string.ascii_lowercase + string.digits}


def test_what_is_filled_in_is_what_was_missing() -> None:
    number, other = AccountNumber("601234"), AccountNumber("601235")
    contact = Contact(PHONE, "en", numbers=(number,))
    same, changed = filled_in(contact, Subscriber(PHONE, "", (number,), "ru"))
    assert (same, changed) == (contact, [])
    fuller, changed = filled_in(contact, Subscriber(None, "a@example.com", (other, number), "ru"))
    assert fuller == Contact(PHONE, "en", "a@example.com", (number, other)), "and the language stays the subscriber's"
    assert len(changed) == 2
    again, changed = filled_in(fuller, Subscriber(PHONE, "A@example.com", (number, other), ""))
    assert (again, changed) == (fuller, [])
    with pytest.raises(ServiceError, match="CONTACT_ON_FILE"):
        filled_in(fuller, Subscriber(Phone("+79161234568"), "", (), ""))


def test_a_customer_shows_nothing_of_himself() -> None:
    assert "601234" not in f"{Subscriber(PHONE, 'a@example.com', (AccountNumber('601234'),), 'ru')}"
