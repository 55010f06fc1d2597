"""Tokens, clients and seals: what may be taken for what."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zasov.auth.v1.common_pb2 import ClientContext

from services.auth.clients import check_client
from services.auth.identifiers import AccountNumber, ContractNumber, Phone
from services.auth.sessions import decode_token, encode_token, hash_of, new_session, same
from services.auth.vault import Contact, Vaults
from services.chassis.errors import ServiceError
from services.chassis.keys import make_keys
from services.chassis.pseudonyms import Pseudonyms
from services.chassis.sealing import UnsealError, new_key

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ID_BYTES = st.binary(min_size=16, max_size=16)
SECRETS = st.binary(min_size=32, max_size=32)


@given(st.lists(ID_BYTES, min_size=1, max_size=2), SECRETS)
def test_a_token_gives_back_what_it_was_made_of(raw_ids: list[bytes], secret: bytes) -> None:
    ids = [UUID(bytes=raw) for raw in raw_ids]
    token = encode_token(*ids, secret)
    assert decode_token(token, len(ids)) == (ids, secret)
    assert decode_token(token, 3 - len(ids)) is None
    assert len(token) < 100


def test_a_token_with_any_character_changed_added_or_left_out_is_not_that_token() -> None:
    account, session, secret = uuid4(), uuid4(), bytes(range(32))
    token = encode_token(account, session, secret)
    for at in range(len(token) + 1):
        left_out = [token[:at] + token[at + 1 :]] if at < len(token) else []
        put_in = [token[:at] + other + token[at + cut :] for other in "ABghwx019-_+/=!\n é\x00" for cut in (0, 1)]
        for changed in (one for one in [*left_out, *put_in] if one != token):
            assert decode_token(changed, 2) != ([account, session], secret), changed


@given(st.text(max_size=400))
def test_garbage_is_no_token(garbage: str) -> None:
    decoded = decode_token(garbage, 2)
    assert decoded is None or encode_token(*decoded[0], decoded[1]) == garbage


@pytest.mark.parametrize("token", ["", "=", "A", "x" * 86 + "!", "x" * 257, "x" * 10_000_000, "ключ" * 20, "A" * 85])
def test_what_is_no_token_is_none(token: str) -> None:
    assert decode_token(token, 2) is None


def test_a_new_session_keeps_only_the_hash_of_its_token() -> None:
    account = uuid4()
    session, token = new_session(account, NOW, timedelta(days=30))
    decoded = decode_token(token, 2)
    assert decoded is not None
    ids, secret = decoded
    assert ids == [account, session.session_id]
    assert same(session.token_hash, hash_of(secret))
    assert not same(session.token_hash, hash_of(b"x" * 32))
    assert secret not in session.token_hash
    assert session.expires_at == NOW + timedelta(days=30)
    assert len({new_session(account, NOW, timedelta(1))[1] for _ in range(50)}) == 50


@pytest.mark.parametrize(
    ("context", "field"),
    [
        ({}, "client.ip"), ({"ip": "not.an.ip.address"}, "client.ip"), ({"ip": "203.0.113.7/24"}, "client.ip"),
        ({"ip": "203.0.113.7:443"}, "client.ip"), ({"ip": "fe80::1%eth0"}, "client.ip"),
        ({"ip": "203.0.113.7", "device_id": "d" * 129}, "client.device_id"),
        ({"ip": "203.0.113.7", "language": "de"}, "client.language"),
        ({"ip": "203.0.113.7", "language": "RU"}, "client.language"),
    ],
)  # fmt: skip
def test_a_client_that_is_not_in_order_is_refused_by_field_and_not_quoted(context: dict[str, str], field: str) -> None:
    with pytest.raises(ServiceError) as caught:
        check_client(ClientContext(**context))
    assert list(caught.value.violations) == [field]
    assert "203.0.113" not in repr(caught.value)


@pytest.mark.row("B2")
def test_a_client_shows_nothing_and_becomes_pseudonyms(tmp_path: Path) -> None:
    make_keys(tmp_path, NOW)
    client = check_client(ClientContext(ip="::ffff:203.0.113.7", device_id="my-phone", language="en"))
    assert "203" not in f"{client} {client!r}"
    assert (client.address.ip, client.address.subnet) == ("203.0.113.7", "203.0.113.0/24")
    origin = client.origin(Pseudonyms(tmp_path / "pseudonyms"), NOW)
    assert origin.key_id == "2026-03"
    assert {len(one) for one in (origin.ip_pseudonym, origin.subnet_pseudonym, origin.device_pseudonym)} == {32}
    assert not any(plain in str(origin) for plain in ("203.0.113", "my-phone"))


def test_what_an_account_has_sealed_no_other_account_key_or_place_opens() -> None:
    vaults = Vaults(new_key())
    one, other = uuid4(), uuid4()
    vault, wrapped = vaults.make(one)
    other_vault, other_wrapped = vaults.make(other)
    contact = Contact(
        Phone("+79161234567"), "ru", "i.ivanova@example.org", (AccountNumber("6012345678"), ContractNumber("AB12"))
    )
    sealed, sealed_contact = vault.close_password("$argon2id$…"), vault.close_contact(contact)
    again = vaults.open(one, wrapped)
    assert again.open_password(sealed) == "$argon2id$…"
    assert again.open_contact(sealed_contact) == contact
    assert b"argon2" not in sealed + sealed_contact
    assert b"916" not in sealed + sealed_contact
    assert "916" not in repr(contact)
    reached_by_email = Contact(None, "en", "i.ivanova@example.org")
    assert again.open_contact(vault.close_contact(reached_by_email)) == reached_by_email
    attempts = [
        lambda: other_vault.open_password(sealed),
        lambda: other_vault.open_contact(sealed_contact),
        lambda: vault.open_password(sealed_contact),
        lambda: vault.open_contact(sealed),
        lambda: vaults.open(other, wrapped),
        lambda: vaults.open(one, other_wrapped),
        lambda: Vaults(new_key()).open(one, wrapped),
        lambda: vault.open_password(sealed[:-1]),
        lambda: vault.open_password(b""),
    ]
    for attempt in attempts:
        with pytest.raises(UnsealError):
            attempt()
    assert "916" not in repr(replace(contact, language="en"))
