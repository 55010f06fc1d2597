"""The password policy (M7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.auth.passwords.policy import LONGEST, SHORTEST, failed_rules, normalise
from services.chassis.errors import ServiceError

pytestmark = pytest.mark.row("M7")


@pytest.mark.parametrize(
    ("password", "failed"),
    [
        ("Vesna-na-Volge-7", []), ("Vesna77x", []), ("Зимний-вечер-5", []), ("длинная фраза БЕЗ правил, но с 1 цифрой", []),
        ("Ab1x", ["length"]), ("Vesna-na-Volge", ["digit"]), ("vesna-na-volge-7", ["upper_case"]),
        ("зимний-вечер-5", ["upper_case"]), ("", ["length", "digit", "upper_case"]),
        ("1234567", ["length", "upper_case", "common"]),
        ("Password1", ["common"]), ("PASSWORD1", ["common"]), ("Qwerty123", ["common"]),
        ("password", ["digit", "upper_case", "common"]),
    ],
)  # fmt: skip
def test_each_rule_that_failed_is_named(password: str, failed: list[str]) -> None:
    assert list(failed_rules(password)) == failed
    assert all(failed_rules(password).values())


@pytest.mark.parametrize("password", ["Йцукен123", "йцукен", "пароль", "Зфыыцщкв1", "Йцукенгш", "ЙЦУКЕН123"])
def test_a_common_password_is_common_in_the_russian_layout_too(password: str) -> None:
    assert "common" in failed_rules(password)


@given(st.text(min_size=1, max_size=LONGEST))
def test_what_is_hashed_is_in_one_form_however_it_was_typed(password: str) -> None:
    once = normalise(password, "password")
    if 0 < len(once) <= LONGEST:
        assert normalise(once, "password") == once


@pytest.mark.parametrize(
    ("typed", "same"), [("Cafe\u0301-12345", "Caf\u00e9-12345"), ("Ｐａｒｏｌ１２", "Parol12"), ("й", "и\u0306")]
)
def test_spellings_that_look_the_same_are_the_same_password(typed: str, same: str) -> None:
    assert normalise(typed, "password") == normalise(same, "password")


def test_case_matters() -> None:
    assert normalise("Vesna77x", "password") != normalise("vesna77x", "password")


@pytest.mark.parametrize("password", ["", "x" * (LONGEST + 1), "x" * 10_000_000])
def test_a_password_of_absurd_length_is_refused_without_being_quoted(password: str) -> None:
    with pytest.raises(ServiceError) as caught:
        normalise(password, "old_password")
    assert list(caught.value.violations) == ["old_password"]
    assert "xx" not in repr(caught.value)


def test_the_longest_is_taken() -> None:
    assert len(normalise("x" * LONGEST, "password")) == LONGEST


@given(st.text(max_size=40))
def test_the_rules_are_what_they_say(password: str) -> None:
    failed = failed_rules(password)
    assert ("length" in failed) == (len(password) < SHORTEST)
    assert ("digit" in failed) == (not any(one.isdigit() for one in password))
    assert ("upper_case" in failed) == (not any(one.isupper() for one in password))
