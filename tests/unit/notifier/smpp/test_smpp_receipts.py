"""Receipts as SMSCs write them, and what an inbound message is taken for."""

import contextlib
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devstack.smsc_behaviour import RECEIPT_FORMS, ReceiptForm, receipt_fields
from services.notifier.smpp.codec import Pdu, decode, encode
from services.notifier.smpp.inbound import InboundSms, NotForUs, read_delivery
from services.notifier.smpp.receipts import (
    MessageState,
    Receipt,
    ReceiptError,
    id_spellings,
    is_receipt,
    parse_receipt,
)
from services.notifier.smpp.text import UCS2, Concatenation, ReferenceKind, TextError


def delivery(**fields: str | bytes | int) -> Pdu:
    return decode(encode("deliver_sm", 1, {"source_addr": "79160000001", "source_addr_ton": 1, **fields}))


def receipt(text: str) -> Receipt:
    return parse_receipt(delivery(esm_class=4, short_message=text.encode("latin-1")))


TEXT = "id:{id} sub:001 dlvrd:001 submit date:{date} done date:{date} stat:{stat} err:{err} text:hello"


def test_the_text_form_of_the_book_is_read() -> None:
    assert receipt(TEXT.format(id="0123456789", date="2611221520", stat="DELIVRD", err="000")) == Receipt(
        "0123456789", MessageState.DELIVERED, "000", datetime(2026, 11, 22, 15, 20)
    )


def test_dates_with_seconds_are_read() -> None:
    assert receipt(TEXT.format(id="1", date="261122152033", stat="EXPIRED", err="1")).done_at == datetime(
        2026, 11, 22, 15, 20, 33
    )


@pytest.mark.parametrize("date", ["26112215203", "9999999999", "", "soon"])
def test_a_strange_date_does_not_lose_the_receipt(date: str) -> None:
    read = receipt(TEXT.format(id="1", date=date, stat="DELIVRD", err="000"))
    assert (read.state, read.done_at) == (MessageState.DELIVERED, None)


@pytest.mark.parametrize("err", ["0", "00B", "0x1F", "FFFFFFFF"])
def test_hexadecimal_errors_are_kept_as_written(err: str) -> None:
    assert receipt(TEXT.format(id="1", date="2611221520", stat="UNDELIV", err=err)).error == err


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("DELIVRD", MessageState.DELIVERED),
        ("delivered", MessageState.DELIVERED),
        ("DELETED", MessageState.DELETED),
        ("EXPIRED", MessageState.EXPIRED),
        ("UNDELIV", MessageState.UNDELIVERABLE),
        ("UNKNOWN", MessageState.UNKNOWN),
        ("REJECTD", MessageState.REJECTED),
        ("ACCEPTD", MessageState.ACCEPTED),
        ("ENROUTE", MessageState.ENROUTE),
        ("BLAH", MessageState.UNKNOWN),
    ],
)
def test_states_are_known_by_their_words(word: str, state: MessageState) -> None:
    assert receipt(f"id:7 stat:{word}").state is state


def test_tlvs_win_over_the_text() -> None:
    pdu = delivery(
        esm_class=4,
        short_message=b"id:WRONG stat:DELIVRD err:000",
        receipted_message_id="RIGHT",
        message_state=5,
        network_error_code=b"\x03\x00\x1b",
    )
    assert parse_receipt(pdu) == Receipt("RIGHT", MessageState.UNDELIVERABLE, "001B")


def test_the_quoted_text_cannot_pass_for_a_field() -> None:
    with pytest.raises(ReceiptError):
        receipt("sub:001 text:id:1 stat:DELIVRD")
    assert receipt("id:1 sub:001 text:stat:DELIVRD").state is MessageState.UNKNOWN


@pytest.mark.parametrize("form", RECEIPT_FORMS)
@pytest.mark.parametrize("state", [MessageState.DELIVERED, MessageState.EXPIRED, MessageState.REJECTED])
def test_every_form_that_the_dev_smsc_writes_is_read(form: ReceiptForm, state: MessageState) -> None:
    at = datetime(2026, 11, 22, 15, 20, 33, tzinfo=UTC)
    fields = receipt_fields(form, message_id="660DF4", state=state, submitted_at=at, done_at=at)
    read = parse_receipt(decode(encode("deliver_sm", 1, fields)))
    assert read.state is state
    assert "660DF4" in (read.message_id, *id_spellings(read.message_id))


@given(st.binary(max_size=200), st.integers(0, 255), st.integers(0, 255))
def test_no_delivery_raises_anything_but_the_three_answers(body: bytes, esm_class: int, coding: int) -> None:
    pdu = delivery(esm_class=esm_class, data_coding=coding, short_message=body)
    with contextlib.suppress(ReceiptError, TextError, NotForUs):
        read_delivery(pdu)


def test_a_subscribers_text_is_not_a_receipt() -> None:
    pdu = delivery(short_message="ПАРОЛЬ".encode("utf-16-be"), data_coding=8, destination_addr="3339")
    assert not is_receipt(pdu)
    assert read_delivery(pdu) == InboundSms("+79160000001", "3339", "ПАРОЛЬ".encode("utf-16-be"), UCS2)
    shown = repr(read_delivery(pdu))
    assert not [one for one in ("ПАРОЛЬ", "\\x04", "79160000001") if one in shown]


def test_parts_are_told_by_their_header_or_by_tlvs() -> None:
    by_header = read_delivery(delivery(esm_class=0x40, short_message=b"\x05\x00\x03\x01\x02\x01hi"))
    by_tlvs = read_delivery(delivery(short_message=b"hi", sar_msg_ref_num=1, sar_total_segments=2, sar_segment_seqnum=1))
    assert isinstance(by_header, InboundSms)
    assert isinstance(by_tlvs, InboundSms)
    assert (by_header.body, by_header.part) == (b"hi", Concatenation(ReferenceKind.UDH_8_BIT, 1, 2, 1))
    assert (by_tlvs.body, by_tlvs.part) == (b"hi", Concatenation(ReferenceKind.SAR, 1, 2, 1))


@pytest.mark.parametrize("number", [0, 3])
def test_a_part_beyond_its_total_is_never_readable(number: int) -> None:
    with pytest.raises(TextError):
        read_delivery(delivery(short_message=b"hi", sar_msg_ref_num=1, sar_total_segments=2, sar_segment_seqnum=number))


def test_a_part_may_end_within_a_character_but_a_whole_text_may_not() -> None:
    half = "😀".encode("utf-16-be")[:2]
    sar = {"sar_msg_ref_num": 1, "sar_total_segments": 2, "sar_segment_seqnum": 1}
    assert isinstance(read_delivery(delivery(short_message=half, data_coding=UCS2, **sar)), InboundSms)
    with pytest.raises(TextError):
        read_delivery(delivery(short_message=half, data_coding=UCS2))


@pytest.mark.parametrize("sar", [{}, {"sar_msg_ref_num": 1, "sar_total_segments": 2, "sar_segment_seqnum": 1}])
def test_what_is_no_text_is_refused_whole_or_in_part(sar: dict[str, int]) -> None:
    for body, coding in ((b"\xff\xff", 0x00), (b"binary", 0x04), (b"", 0x00)):
        with pytest.raises(TextError):
            read_delivery(delivery(short_message=body, data_coding=coding, **sar))


def test_the_other_spellings_of_an_id_are_offered_after_its_own() -> None:
    assert id_spellings("123") == ("123", "7b", "7B", "291")
    assert id_spellings("7B") == ("7B", "123")
    assert id_spellings("a-b") == ("a-b",)
