"""Texts as SMS: what fits, where it splits, and that joining gives it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.sms_coding import TO_GSM
from services.notifier.smpp import text as sms
from services.notifier.smpp.text import ReferenceKind

GSM_CHARS = sorted(TO_GSM)


def read_back(split: sms.Split) -> str:
    parts = {}
    for i, body in enumerate(split.bodies, start=1):
        rest, part = sms.strip_header(body, split.esm_class)
        parts[part.number if part else i] = rest
    return sms.join(parts, split.data_coding)


@given(st.text(GSM_CHARS, min_size=1, max_size=700))
def test_a_gsm_text_comes_back_as_it_was(text: str) -> None:
    split = sms.split(text, 7)
    assert split.data_coding == sms.GSM
    assert read_back(split) == text


@given(st.text(min_size=1, max_size=400))
def test_any_text_comes_back_as_it_was(text: str) -> None:
    assert read_back(sms.split(text, 7)) == text


@given(st.text([*GSM_CHARS, "€", "[", "😀", "ж"], min_size=1, max_size=500))
def test_every_part_is_readable_alone_and_fits_an_sms(text: str) -> None:
    split = sms.split(text, 300)
    for body in split.bodies:
        rest, part = sms.strip_header(body, split.esm_class)
        sms.decode(rest, split.data_coding)  # no pair is torn
        if split.data_coding == sms.GSM:
            assert len(rest) <= (160 if part is None else 153)
        else:
            assert len(body) <= 140
        if part is not None:
            assert (part.reference, part.total) == (300 & 0xFF, len(split.bodies))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("€" * 153, 3),  # 76 pairs and a spare septet to a part
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 134, 2),
        ("ж" * 135, 3),
        ("😀" * 35, 1),
        ("😀" * 67, 3),  # 33 pairs and a spare unit to a part
    ],
)
def test_the_number_of_parts_is_what_the_operator_bills(text: str, parts: int) -> None:
    assert sms.parts_count(text) == parts


def test_the_section_sign_and_the_grave_accent_are_not_confused() -> None:
    """smpplib's table has them in each other's place."""
    assert sms.split("§", 0).bodies == (b"\x5f",)
    assert sms.split("`", 0).data_coding == sms.UCS2


@pytest.mark.parametrize("text", ["", "half \ud83d", "ж" * 67 * 256])
def test_a_text_that_cannot_be_sent_is_refused_without_being_quoted(text: str) -> None:
    with pytest.raises(sms.TextError) as refused:
        sms.split(text, 0)
    assert refused.value.__suppress_context__ or refused.value.__context__ is None
    assert "half \ud83d" not in str(refused.value)


@pytest.mark.parametrize(
    ("body", "coding", "text"),
    [
        (b"\x1b\x65 1", 0x00, "€ 1"),
        (b"abc", 0x01, "abc"),
        (b"\xe9", 0x03, "é"),
        ("ПАРОЛЬ".encode("iso-8859-5"), 0x06, "ПАРОЛЬ"),
        ("ПАРОЛЬ".encode("utf-16-be"), 0x08, "ПАРОЛЬ"),
        (b"abc", 0xF1, "abc"),
        (b"\x1bA", 0x00, "A"),
    ],
)
def test_inbound_codings_are_read(body: bytes, coding: int, text: str) -> None:
    assert sms.decode(body, coding) == text


@given(st.binary(max_size=160), st.integers(0, 255), st.integers(0, 255))
def test_no_bytes_raise_anything_but_a_text_error(body: bytes, coding: int, esm_class: int) -> None:
    try:
        rest, _ = sms.strip_header(body, esm_class)
        sms.decode(rest, coding)
    except sms.TextError:
        pass


def test_both_lengths_of_concatenation_reference_are_read_and_told_apart() -> None:
    short = sms.Concatenation(ReferenceKind.UDH_8_BIT, 0x2A, 2, 1)
    long = sms.Concatenation(ReferenceKind.UDH_16_BIT, 0x12A, 2, 2)
    assert sms.strip_header(b"\x05\x00\x03\x2a\x02\x01hi", sms.ESM_UDHI) == (b"hi", short)
    assert sms.strip_header(b"\x06\x08\x04\x01\x2a\x02\x02hi", sms.ESM_UDHI) == (b"hi", long)


def test_a_total_of_one_is_a_plain_message() -> None:
    assert sms.strip_header(b"\x05\x00\x03\x2a\x01\x01hi", sms.ESM_UDHI) == (b"hi", None)


@pytest.mark.parametrize("number", [0, 3, 255])
def test_a_part_that_its_message_does_not_have_is_no_text(number: int) -> None:
    """Half a command must not pass for a whole one."""
    with pytest.raises(sms.TextError):
        sms.strip_header(b"\x05\x00\x03\x2a\x02" + bytes([number]) + b"hi", sms.ESM_UDHI)


def test_a_pair_that_the_sender_tore_is_joined_again() -> None:
    half = "😀".encode("utf-16-be")
    assert sms.join({2: half[2:], 1: half[:2]}, sms.UCS2) == "😀"
