"""What a subscriber's text asks for (M6)."""

import pytest

from services.auth.texts.commands import NoCommand, PasswordWanted, Proposal, ShortNumbers, read_command

NUMBERS = ShortNumbers(password="3339", proposal="111")


@pytest.mark.row("M6")
@pytest.mark.parametrize("text", ["ПАРОЛЬ", "пароль", "  Пароль\n", "PAROL", "parol "])
def test_the_word_for_a_password_is_known_in_any_case_and_with_stray_spaces(text: str) -> None:
    assert read_command("3339", text, NUMBERS) == PasswordWanted()


@pytest.mark.row("M6")
@pytest.mark.parametrize(
    ("text", "password"),
    [("25 Winter-26", "Winter-26"), (" 25   Winter-26 ", "Winter-26"), ("25\tWinter 26", "Winter 26"), ("25 25 A1", "25 A1")],
)
def test_a_proposal_is_taken_as_it_is_written_but_for_stray_spaces_around_it(text: str, password: str) -> None:
    assert read_command("111", text, NUMBERS) == Proposal(password)
    assert password not in repr(Proposal(password))


@pytest.mark.row("M6")
@pytest.mark.parametrize(
    ("destination", "text"),
    [
        ("111", "ПАРОЛЬ"), ("3339", "25 Winter-26"), ("3339", "ПАРОЛЬ пожалуйста"), ("3339", ""), ("111", "25"),
        ("111", "25Winter-26"), ("111", "125 Winter-26"), ("111", "25 " + "A1" * 200), ("112", "ПАРОЛЬ"),
    ],
)  # fmt: skip
def test_anything_else_is_no_command(destination: str, text: str) -> None:
    assert read_command(destination, text, NUMBERS) == NoCommand()
