"""Captchas (M9): pictures and their challenges, the line of those that are drawn, tokens of an outside service."""

import asyncio
import io
import json
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from services.auth.captcha.pictures import ALPHABET, LENGTH, Challenge, DrawingLine
from services.auth.captcha.tokens import read_token
from services.auth.settings import AuthSettings
from services.auth.signed_tokens import TokenKey, read_public_key
from services.chassis.errors import CannotStart, ServiceError
from services.chassis.sealing import Seal, new_key
from tests.fakes.auth_captchas import AUDIENCE, base64url, claims, token

pytestmark = pytest.mark.row("M9")

EXPIRES = datetime(2026, 3, 1, 12, 0, 7, tzinfo=UTC)
KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
SERVICE = TokenKey(KEY.public_key(), AUDIENCE)


def challenge(characters: str = "ACE34") -> Challenge:
    return Challenge(secrets.token_bytes(16), characters, EXPIRES)


@pytest.fixture
def line() -> Iterator[DrawingLine]:
    made = DrawingLine(places=4)
    yield made
    made.close()


async def test_a_picture_is_a_png_of_a_size_to_be_shown_and_no_two_are_alike(line: DrawingLine) -> None:
    characters = ["".join(secrets.choice(ALPHABET) for _ in range(LENGTH)) for _ in range(20)]
    pictures = [await line.draw(one) for one in characters] + [await line.draw(characters[0])]
    assert len(set(pictures)) == 21
    for png in pictures:
        with Image.open(io.BytesIO(png)) as image:
            image.load()
            assert (image.format, image.size) == ("PNG", (240, 80))
            assert len(image.getcolors(maxcolors=240 * 80) or ()) > 20
        assert 1_000 < len(png) < 64 * 1024


def test_no_two_characters_look_alike_and_there_are_many_answers() -> None:
    assert len(set(ALPHABET)) == len(ALPHABET)
    for alike in ("0OQD", "1IL7J", "2Z", "5S", "8B", "UV", "6G", "WM"):
        assert len(set(alike) & set(ALPHABET)) <= 1
    assert len(ALPHABET) ** LENGTH > 1_000_000


@pytest.mark.parametrize("answer", ["ACE34", "ace34", " a c\tE 3 4\n", "АСЕ34", "асеЗ4", "aСe34"])
def test_an_answer_may_be_typed_in_either_case_with_spaces_and_on_a_russian_keyboard(answer: str) -> None:
    assert challenge().is_answered_by(answer)


@pytest.mark.parametrize("answer", ["", "ACE3", "ACE344", "43ECA", "ACE35", "*", ":ACE34", "\x00"])
def test_any_other_answer_is_wrong(answer: str) -> None:
    assert not challenge().is_answered_by(answer)


def test_a_challenge_comes_back_from_its_id_which_shows_nothing_of_it() -> None:
    seal, made = Seal(new_key()), challenge("ACEHKMNPRTXY34679")
    text = made.close(seal)
    assert Challenge.open(seal, text) == made
    assert ":" not in text
    assert len(text) <= 256
    assert made.characters not in f"{text} {made}"
    assert challenge().close(seal) != challenge().close(seal)


@pytest.mark.parametrize("text", ["", "=", "A", "ключ", "A" * 78, "A" * 5000])
def test_what_is_no_challenge_of_ours_is_none(text: str) -> None:
    assert Challenge.open(Seal(new_key()), text) is None


def test_a_challenge_of_another_key_or_place_or_that_was_changed_is_none() -> None:
    key = new_key()
    seal, text = Seal(key), challenge().close(Seal(key))
    assert Challenge.open(Seal(new_key()), text) is None
    of_a_flow = base64url(seal.close(b"i" * 24 + b"ACE34", secrets.token_bytes(16)))
    assert Challenge.open(seal, of_a_flow) is None
    for at in range(len(text) - 1):
        changed = text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :]
        assert Challenge.open(seal, changed) is None


@pytest.mark.row("M21")
async def test_more_pictures_than_places_are_refused_at_once_with_a_time_to_try_again(line: DrawingLine) -> None:
    with line.place("a"), line.place("b"), line.place("c"), line.place("d"):
        with pytest.raises(ServiceError) as caught, line.place("e"):
            pass
        assert (caught.value.reason, caught.value.retry_after is not None) == ("OVERLOADED", True)
    with line.place("e"):
        pass


@pytest.mark.row("M21")
async def test_one_address_has_half_of_what_others_leave(line: DrawingLine) -> None:
    with line.place("a"), line.place("a"):
        with pytest.raises(ServiceError), line.place("a"):
            pass
        with line.place("b"), line.place("c"):
            pass


async def test_a_picture_that_fails_or_is_given_up_leaves_its_place(line: DrawingLine) -> None:
    for _ in range(10):
        with pytest.raises(asyncio.CancelledError), line.place("a"):
            raise asyncio.CancelledError
    assert not line._by_address


def test_whoever_sets_nothing_has_pictures_asked_for() -> None:
    assert AuthSettings(postgres_url="none").captcha_provider == "picture"


def test_a_fixed_text_is_refused_outside_of_a_local_stack() -> None:
    with pytest.raises(ValueError, match="local stacks"):
        AuthSettings(postgres_url="none", captcha_fixed_text="ACE34")
    assert AuthSettings(postgres_url="none", captcha_fixed_text="ACE34", reflection=True).captcha_fixed_text


def test_a_token_that_is_in_order_says_which_it_is_and_until_when() -> None:
    said = claims(exp=int(EXPIRES.timestamp()))
    read = read_token(token(KEY, said=said), SERVICE)
    assert read is not None
    assert read.expires_at == EXPIRES
    again = read_token(token(KEY, said={**said, "iat": 1, "aud": ["other", AUDIENCE]}), SERVICE)
    assert again == read
    other = read_token(token(KEY), SERVICE)
    assert other is not None
    assert other.captcha_id != read.captcha_id


def _resigned(**parts: Any) -> str:
    """The signature of one token under what another says."""
    signature = token(KEY).rpartition(".")[2]
    return f"{token(KEY, **parts).rpartition('.')[0]}.{signature}"


@pytest.mark.parametrize(
    "text",
    [
        token(OTHER_KEY), _resigned(), token(KEY).rpartition(".")[0] + ".", token(KEY)[:-4], "x." + token(KEY),
        "", ".", "..", "a.b.c", "ключ", "A" * 2048, f"{base64url(b'[' * 1500)}.e30.AA",
        f"{base64url(json.dumps({'alg': 'none'}).encode())}.{base64url(json.dumps(claims()).encode())}.",
    ],
    ids=map(str, range(13)),
)  # fmt: skip
def test_a_token_that_is_not_signed_by_the_service_is_none(text: str) -> None:
    assert read_token(text, SERVICE) is None


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (None, claims(aud="other")), (None, claims(aud="zasov-test")), (None, claims(aud=["other"])), (None, claims(aud=None)),
        (None, claims(aud=7)), (None, claims(exp=None)), (None, claims(exp="soon")), (None, claims(exp=1e400)),
        (None, claims(exp=10**30)), (None, claims(jti=None)), (None, claims(jti="")), (None, ["aud", "exp", "jti"]),
        (None, "x"),
        ({"alg": "HS256"}, None), ({"typ": "JWT"}, None), ({"alg": "EdDSA", "crit": ["exp"]}, None), ([], None),
    ],
)  # fmt: skip
def test_a_token_for_somebody_else_or_without_what_it_must_say_is_none(header: Any, said: Any) -> None:
    assert read_token(token(KEY, header, said), SERVICE) is None


@given(st.text(max_size=300))
def test_garbage_is_no_token(garbage: str) -> None:
    assert read_token(garbage, SERVICE) is None
    assert Challenge.open(Seal(bytes(32)), garbage) is None


def test_only_an_ed25519_key_verifies_tokens(tmp_path: Path) -> None:
    path = tmp_path / "captcha-token.pem"
    with pytest.raises(CannotStart, match="no key file"):
        read_public_key(path)
    path.write_text("CANARY")
    with pytest.raises(CannotStart, match="PEM") as caught:
        read_public_key(path)
    assert "CANARY" not in str(caught.value)
    path.write_bytes(X25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(CannotStart, match="Ed25519"):
        read_public_key(path)
    path.write_bytes(KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert read_token(token(KEY), TokenKey(read_public_key(path), AUDIENCE))
