"""Sealing: opened by the same key in the same context, or not at all."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.errors import CannotStart
from services.chassis.keys import KEY_NAMES, make_keys
from services.chassis.sealing import PrivateSeal, PublicSeal, Seal, UnsealError, new_key, public_key_of, read_key

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


@given(st.binary(max_size=600), st.binary(max_size=40))
def test_what_was_sealed_for_another_opens_with_the_private_key_in_its_context(plain: bytes, context: bytes) -> None:
    private = new_key()
    assert PrivateSeal(private).open(PublicSeal(public_key_of(private)).close(plain, context), context) == plain


@given(st.data())
def test_one_changed_bit_of_what_was_sealed_for_another_and_it_stays_shut(data: st.DataObject) -> None:
    private = new_key()
    sealed = bytearray(PublicSeal(public_key_of(private)).close(b"secret", b"id"))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(UnsealError):
        PrivateSeal(private).open(bytes(sealed), b"id")


def test_neither_the_public_key_nor_another_private_one_nor_another_context_opens_anything() -> None:
    private = new_key()
    public = public_key_of(private)
    sealed = PublicSeal(public).close(b"secret", b"id")
    for key, context in ((public, b"id"), (new_key(), b"id"), (private, b"other")):
        with pytest.raises(UnsealError):
            PrivateSeal(key).open(sealed, context)


@pytest.mark.parametrize("length", [0, 1, 31, 32, 48])
def test_what_is_too_short_to_be_sealed_for_anybody_is_an_unseal_error(length: int) -> None:
    with pytest.raises(UnsealError):
        PrivateSeal(new_key()).open(b"x" * length, b"")


def test_texts_of_up_to_255_bytes_look_equally_long_when_sealed_for_another() -> None:
    seal = PublicSeal(public_key_of(new_key()))
    assert len({len(seal.close(b"x" * length, b"")) for length in range(256)}) == 1


def test_the_keys_of_a_development_stack_are_made_once_and_the_pair_fits(tmp_path: Path) -> None:
    now = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)
    make_keys(tmp_path, now)
    read = {path: path.read_text() for path in tmp_path.rglob("*.key")}
    assert {path.name for path in tmp_path.glob("*.key")} == {f"{name}.key" for name in KEY_NAMES}
    assert {path.name for path in (tmp_path / "pseudonyms").iterdir()} == {"2026-12.key", "2027-01.key"}
    private = read_key(tmp_path / "auth-inbound.key")
    assert read_key(tmp_path / "auth-inbound-public.key") == public_key_of(private)
    make_keys(tmp_path, now)
    assert read == {path: path.read_text() for path in tmp_path.rglob("*.key")}
    assert {path.stat().st_mode & 0o777 for path in read} == {0o600}
