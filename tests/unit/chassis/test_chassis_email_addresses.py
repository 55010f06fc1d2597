"""What counts as an email address: it goes into an SMTP command and a header as it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.email_addresses import NotAnAddress, email_address


@pytest.mark.parametrize(
    ("given_as", "address"),
    [
        ("anna@example.com", "anna@example.com"),
        ("Anna.B+zasov@EXAMPLE.com", "Anna.B+zasov@example.com"),
        ("anna@почта.рф", "anna@xn--80a1acny.xn--p1ai"),
        ("anna@xn--80a1acny.xn--p1ai", "anna@xn--80a1acny.xn--p1ai"),
    ],
)
def test_an_address_in_any_usual_spelling_becomes_ascii(given_as: str, address: str) -> None:
    assert email_address(given_as) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "anna",
        "anna@localhost",
        "anna@[127.0.0.1]",
        "анна@example.com",
        '"a b"@example.com',
        "Anna <anna@example.com>",
        "anna@example.com, boris@example.com",
        "anna@example.com>\r\nRCPT TO:<boris@example.com",
        "anna@example.com\n",
        "anna@example.com\r",
        "anna@exa\u2028mple.com",
        "an\x00na@example.com",
        "a" * 65 + "@example.com",
        "anna@" + "a" * 250 + ".com",
    ],
)
def test_what_is_no_address_or_would_begin_another_command_is_refused(text: str) -> None:
    with pytest.raises(NotAnAddress) as refused:
        email_address(text)
    assert str(refused.value) == ""


around = st.text(max_size=6)


@given(st.one_of(st.text(max_size=80), st.tuples(around, around, around).map(lambda t: f"{t[0]}a{t[1]}@b{t[2]}.example")))
def test_whatever_is_accepted_is_one_printable_ascii_word_with_one_at_sign(text: str) -> None:
    try:
        address = email_address(text)
    except NotAnAddress:
        return
    assert address.isascii()
    assert address.isprintable()
    assert not set(address) & set(' <>()[],;:"\\')
    assert address.count("@") == 1
    assert len(address) <= 254
    assert email_address(address) == address
