"""What a subscriber types, and whom it stands for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.identifiers import (
    AccountNumber,
    ContractNumber,
    LookupKey,
    Phone,
    identifier_of,
    named,
    parse_account_number,
    parse_contract_number,
    parse_phone,
    require_own_mobile,
)
from services.chassis.errors import ServiceError

E164 = "+79161234567"
LOOKUP = LookupKey(b"k" * 32)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[str, str]:
    """(as typed, E.164)"""
    code = draw(st.sampled_from(["916", "903", "925", "985", "999"]))
    rest = draw(st.from_regex(r"[0-9]{7}", fullmatch=True))
    gap = st.sampled_from(["", " ", "-", ".", "  ", " - "])
    prefix = draw(st.sampled_from(["+7", "8", "7", "", " +7", "8 "]))
    head = draw(st.sampled_from([f"({code})", code, f" ({code}) ", f" {code}"])) if prefix.strip() else code
    text = prefix + head + draw(gap) + rest[:3] + draw(gap) + rest[3:5] + draw(gap) + rest[5:]
    return text + draw(st.sampled_from(["", " "])), f"+7{code}{rest}"


@given(spellings())
@pytest.mark.row("M1")
def test_every_usual_spelling_is_the_same_number(spelled: tuple[str, str]) -> None:
    text, e164 = spelled
    assert parse_phone(text, "RU").e164 == e164


@pytest.mark.row("M1")
@pytest.mark.parametrize(
    "text",
    [
        "8 916 123-45-67", "+7 (916) 123-45-67", "89161234567", "79161234567", "9161234567", "+79161234567", "8(916)1234567",
        "8-916-123-45-67", "+7.916.123.45.67", "\u00a0+7\u00a0916\u00a0123\u201145\u201167",
        "＋７９１６１２３４５６７", "8–916–123–45–67",
    ],
)  # fmt: skip
def test_a_number_is_known_by_any_of_these(text: str) -> None:
    assert parse_phone(text, "RU") == Phone(E164)


@pytest.mark.row("M1")
@pytest.mark.parametrize(
    "text",
    [
        "", " ", "+", "916", "8 916 123", "8 916 123 45 67 89 01 23", "123456789012345678901234567890123", "+7 916 CALL-NOW",
        "my number is 8 916 123 45 67", "8 916 123 45 67 ext. 5", "8 916 123 45 67 #5", "+1 555 0100", "\x00", "💥" * 8,
        "+79161234567;ext=5", "tel:+79161234567", "admin' OR 1=1 --", "8 916 123 45 67 доб. 5",
    ],
)  # fmt: skip
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_phone(text, "RU")
    assert dict(caught.value.violations) == {"phone": "not a phone number"}
    assert caught.value.code.name == "INVALID_ARGUMENT"


def refusal(text: str) -> ServiceError | None:
    try:
        parse_phone(text, "RU")
    except ServiceError as error:
        return error
    return None


@given(st.text())
@pytest.mark.row("B2")
def test_a_refusal_says_the_same_whatever_was_typed(text: str) -> None:
    error = refusal(text)
    assert error is None or error == refusal("")
    assert error is None or error.__suppress_context__ or error.__context__ is None


@pytest.mark.row("B2")
def test_the_text_of_a_number_shows_nothing() -> None:
    phone = Phone(E164)
    assert "916" not in f"{phone} {phone!r} {[phone]}"


@pytest.mark.row("B2")
def test_a_lookup_leads_nowhere_without_the_key_and_never_to_a_guard() -> None:
    phone, other = Phone(E164), Phone("+79161234568")
    assert len(LOOKUP.of(phone)) == 32
    assert LOOKUP.of(phone) == LOOKUP.of(Phone(E164)) != LOOKUP.of(other)
    assert LOOKUP.of(phone) != LookupKey(b"o" * 32).of(phone)
    guard = LOOKUP.guard_of(phone)
    assert guard == LOOKUP.guard_of(Phone(E164)) != LOOKUP.guard_of(other)
    assert guard.version == 8
    assert guard.bytes[1:6] != LOOKUP.of(phone)[1:6]


@pytest.mark.row("M12")
@pytest.mark.parametrize("text", ["601 234 567-8", "6012345678", " 6012345678 ", "601.234.567.8", "6 0 1 2 3 4 5 6 7 8"])
def test_an_account_number_is_known_however_it_is_spaced(text: str) -> None:
    assert parse_account_number(text) == AccountNumber("6012345678")


@pytest.mark.row("M12")
@pytest.mark.parametrize(
    "text", ["", "12345", "1" * 21, "60123x5678", "６０１２３４５", "+79161234567", " " * 40 + "6012345678"]
)
def test_what_is_no_account_number_is_refused(text: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_account_number(text)
    assert dict(caught.value.violations) == {"account_number": "must be 6 to 20 digits"}


@pytest.mark.row("M12")
@pytest.mark.parametrize("text", ["AB-12 345/7", "ab123457", "АВ 123457", "ав123457", "№ AB123457"])
def test_a_contract_number_is_known_in_either_alphabet_and_however_it_is_spaced(text: str) -> None:
    assert parse_contract_number(text) == ContractNumber("AB123457")


@pytest.mark.row("M12")
@pytest.mark.parametrize("text", ["", "A1", "ABCDEF", "A" * 20 + "1", "ЖЩ123457", "AB_123457", "💥1234"])
def test_what_is_no_contract_number_is_refused(text: str) -> None:
    with pytest.raises(ServiceError) as caught:
        parse_contract_number(text)
    assert dict(caught.value.violations) == {"contract_number": "must be 4 to 20 letters and digits"}


@pytest.mark.row("M12")
def test_the_same_characters_are_another_identifier_as_another_kind() -> None:
    alike = AccountNumber("79161234567"), ContractNumber("79161234567"), Phone("+79161234567"), Phone("79161234567")
    for name in (LOOKUP.of, LOOKUP.guard_of, LOOKUP.decoy_of, named, lambda one: one.range):
        assert len({name(one) for one in alike}) == len(alike)
    assert [identifier_of(one.kind, one.text) for one in alike] == list(alike)
    assert "916" not in f"{alike} {alike[0]} {alike[1]!r}"


@pytest.mark.parametrize(
    "text", ["+44 20 7946 0958", "+7 701 511 22 33", "8 800 555 35 35", "8 809 505 12 34", "+7 495 123 45 67"]
)
def test_no_code_is_sent_to_a_foreign_premium_or_fixed_number_at_registration(text: str) -> None:
    with pytest.raises(ServiceError) as refusal:
        require_own_mobile(parse_phone(text, "RU"), "RU")
    assert set(refusal.value.violations) == {"phone"}


def test_a_mobile_number_of_the_operators_country_may_be_registered() -> None:
    require_own_mobile(parse_phone("8 916 123-45-67", "RU"), "RU")


def test_a_range_is_the_number_without_its_last_four_digits() -> None:
    assert Phone("+79161234567").range == "+7916123"
