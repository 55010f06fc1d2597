"""Sealing: opened by the same key in the same context, or not at all."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import CannotStart
from services.chassis.sealing import Seal, UnsealError, new_key, read_key

pytestmark = pytest.mark.row("B2")


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_what_was_sealed_opens_in_its_context(plain: bytes, context: bytes) -> None:
    seal = Seal(new_key())
    assert seal.open(seal.close(plain, context), context) == plain


@given(st.binary(max_size=60), st.data())
def test_one_changed_bit_and_it_stays_shut(plain: bytes, data: st.DataObject) -> None:
    seal = Seal(new_key())
    sealed = bytearray(seal.close(plain, b"id"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UnsealError):
        seal.open(bytes(sealed), b"id")


def test_another_key_or_context_opens_nothing() -> None:
    seal, plain = Seal(new_key()), b"secret"
    for opener, context in ((Seal(new_key()), b"id"), (seal, b"other")):
        with pytest.raises(UnsealError):
            opener.open(seal.close(plain, b"id"), context)


@pytest.mark.parametrize("length", [0, 1, 7, 11, 12, 27])
def test_what_is_too_short_to_be_sealed_is_an_unseal_error(length: int) -> None:
    with pytest.raises(UnsealError):
        Seal(new_key()).open(b"x" * length, b"")


def test_the_same_text_never_looks_the_same() -> None:
    seal = Seal(new_key())
    assert seal.close(b"1234", b"") != seal.close(b"1234", b"")


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "zz" * 32])
def test_a_key_file_of_the_wrong_length_or_alphabet_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.key"
    path.write_text(text)
    with pytest.raises(CannotStart) as met:
        read_key(path)
    assert not text or text not in str(met.value)


def test_a_key_file_may_end_with_a_newline(tmp_path: Path) -> None:
    path = tmp_path / "x.key"
    path.write_text("ab" * 32 + "\n")
    assert read_key(path) == b"\xab" * 32
