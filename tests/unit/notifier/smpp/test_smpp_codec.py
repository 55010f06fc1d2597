"""The PDU boundary: nothing but PduError comes out of it, and nothing is cut in silence."""

import asyncio
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier.smpp.codec import MAX_PDU_SIZE, FramingError, Pdu, PduError, decode, encode, read_frame

SECRET = "79160000001"

SAMPLES = [
    encode("bind_transceiver", 1, {"system_id": "zasov", "password": "devstack"}),
    encode("bind_transceiver_resp", 1, {"system_id": "smsc"}),
    encode("submit_sm", 2, {"destination_addr": SECRET, "short_message": b"code 1234", "sar_msg_ref_num": 5}),
    encode("submit_sm_resp", 2, {"message_id": "ABC"}),
    encode("deliver_sm", 3, {"source_addr": SECRET, "short_message": b"hi", "receipted_message_id": "A1"}),
    encode("deliver_sm", 4, {"source_addr": SECRET, "message_state": 2, "network_error_code": b"\x03\x00\x01"}),
    encode("enquire_link", 5),
    encode("unbind", 6),
    encode("generic_nack", 7, status=3),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    raw = bytearray(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, max(0, len(raw) - 1)))
        match draw(st.sampled_from(["set", "insert", "cut", "drop"])):
            case "set" if raw:
                raw[at] = draw(st.integers(0, 255))
            case "insert":
                raw[at:at] = draw(st.binary(max_size=6))
            case "cut":
                del raw[at:]
            case _ if raw:
                del raw[at]
    if draw(st.booleans()) and len(raw) >= 4:  # else most would stop at the length
        raw[:4] = struct.pack(">L", len(raw))
    return bytes(raw)


@given(mutated() | st.binary(max_size=80))
def test_a_mutated_pdu_raises_only_the_typed_error(raw: bytes) -> None:
    result: Pdu | PduError
    try:
        result = decode(raw)
    except PduError as error:
        result = error
    assert SECRET not in repr(result)
    # An exception hidden behind it would be printed with it.
    assert isinstance(result, Pdu) or result.__suppress_context__ or result.__context__ is None


@pytest.mark.parametrize("raw", SAMPLES)
def test_what_is_built_can_be_read(raw: bytes) -> None:
    pdu = decode(raw)
    assert encode(pdu.command, pdu.sequence, status=pdu.status)[4:8] == raw[4:8]


def test_a_body_that_stops_early_is_an_error() -> None:
    whole = encode("deliver_sm", 9, {"source_addr": SECRET, "short_message": b"hello"})
    for length in range(16, len(whole)):
        with pytest.raises(PduError) as error:
            decode(struct.pack(">L", length) + whole[4:length])
        assert error.value.sequence == 9


def with_tlv(tag: int, value: bytes) -> Pdu:
    raw = encode("deliver_sm", 1, {"source_addr": "1"}) + struct.pack(">HH", tag, len(value)) + value
    return decode(struct.pack(">L", len(raw)) + raw[4:])


@pytest.mark.parametrize("value", [b"A1B2", b"A1B2\0"])
def test_an_id_is_whole_with_and_without_its_nul(value: bytes) -> None:
    assert with_tlv(0x001E, value).string("receipted_message_id") == "A1B2"


@pytest.mark.parametrize("value", [b"\x02", b"\x00\x02", b"\x00\x00\x00\x02"])
def test_a_number_of_another_size_does_not_shift_what_follows(value: bytes) -> None:
    assert with_tlv(0x0427, value).number("message_state") == 2


def test_a_vendors_tlv_is_skipped() -> None:
    assert with_tlv(0x1401, b"anything").command == "deliver_sm"


@pytest.mark.parametrize(
    ("command", "fields"),
    [
        ("bind_transceiver", {"system_id": "x" * 16}),
        ("bind_transceiver", {"password": "x" * 9}),
        ("submit_sm", {"destination_addr": "1" * 21}),
        ("submit_sm", {"short_message": b"x" * 255}),
        ("submit_sm", {"source_addr": "a\0b"}),
        ("submit_sm", {"source_addr": "ж"}),
        ("submit_sm", {"esm_class": 256}),
        ("submit_sm", {"no_such_field": 1}),
        ("no_such_command", {}),
    ],
)
def test_a_value_that_does_not_fit_is_refused_and_not_cut(command: str, fields: dict[str, str | bytes | int]) -> None:
    with pytest.raises(PduError):
        encode(command, 1, fields)


@pytest.mark.parametrize("length", [0, 15, MAX_PDU_SIZE + 1, 0xFFFFFFFF])
async def test_an_impossible_length_ends_the_stream(length: int) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(struct.pack(">L", length) + b"\0" * 12)
    with pytest.raises(FramingError):
        await read_frame(reader)
