"""Every email can be written in every language; its fields are escaped, and nothing in it leads anywhere."""

import html
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier import templates
from services.notifier.domain import ChannelId, Kind
from services.notifier.templates import BY_EMAIL, FIELDS, LANGUAGES, TemplateError, Templates

VALUES = {"code": "48151623", "tag": "999999", "when": "23.11 в 14:32 (UTC+3)"}
OPERATOR = "Operator & Co <Ltd>"
# What the email with a secret tells whoever didn't ask for it, or is asked for it.
UNASKED = {
    Kind.CODE: {
        "ru": ("Никому его не сообщайте", "Если вы ничего не запрашивали, просто удалите это письмо"),
        "en": ("tell it to nobody", "If you asked for nothing, simply delete this message"),
    },
    Kind.TEMPORARY_PASSWORD: {
        "ru": ("никому его не сообщайте", "Если вы ничего не запрашивали, просто удалите это письмо"),
        "en": ("tell it to nobody", "If you asked for nothing, simply delete this message"),
    },
    Kind.OFFICE_PASSWORD: {
        "ru": ("Никому не сообщайте этот, нашим сотрудникам тоже", "Если вы не были в офисе, не вводите пароль и сообщите нам"),
        "en": ("Tell this one to no one, our staff included", "If you were not at our office, do not use it, and let us know"),
    },
    Kind.OFFICE_SLIP: {
        "ru": ("Никому не сообщайте её, нашим сотрудникам тоже", "Если вы не были в офисе, сообщите нам"),
        "en": ("Tell it to no one, our staff included", "If you were not at our office, let us know"),
    },
}
ALL = [(kind, language) for kind in sorted(BY_EMAIL) for language in LANGUAGES]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "templates"
    shutil.copytree(Path(templates.__file__).parent / "templates", copy)
    return copy


class Words(HTMLParser):
    """What a reader sees, and the tags around it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["title"] and data.strip():
            self.words.append(data.strip())


def letter_of(kind: Kind, language: str, operator: str = OPERATOR) -> templates.Letter:
    return Templates(operator=operator).letter(kind, language, {name: VALUES[name] for name in FIELDS[kind]})


@pytest.mark.row("M20")
@pytest.mark.parametrize(("kind", "language"), ALL)
def test_both_parts_of_an_email_say_the_same_and_name_what_they_must(kind: Kind, language: str) -> None:
    letter = letter_of(kind, language)
    seen = Words(letter.html)
    assert seen.words == letter.text.split("\n\n")
    assert all(VALUES[name] in letter.text for name in FIELDS[kind])
    assert OPERATOR in letter.text
    assert set(seen.tags) <= {"html", "head", "meta", "title", "body", "p"}
    assert "{" not in letter.text + letter.html + letter.subject


@pytest.mark.row("M20")
@pytest.mark.parametrize(("kind", "language"), [(kind, language) for kind, language in ALL if "code" in FIELDS[kind]])
def test_who_gets_a_secret_unasked_is_told_what_to_do_by_email_too(kind: Kind, language: str) -> None:
    text = letter_of(kind, language).text
    assert all(words in text for words in UNASKED[kind][language])


@pytest.mark.row("B2")
@pytest.mark.parametrize(("kind", "language"), ALL)
def test_a_subject_names_the_operator_and_nothing_personal(kind: Kind, language: str) -> None:
    subject = letter_of(kind, language).subject
    assert subject.startswith(f"{OPERATOR}: ")
    assert not re.search(r"\d", subject)
    assert len(subject) <= len(OPERATOR) + 40


@pytest.mark.row("M3")
@pytest.mark.parametrize(
    ("language", "ways"),
    [
        ("ru", ("Забыли пароль?", "пароль на один вход", "ПАРОЛЬ на 3339", "офис")),
        ("en", ("Forgot password?", "one-time password", "PAROL to 3339", "office")),
    ],
)
def test_the_email_of_a_block_tells_the_ways_out(language: str, ways: tuple[str, ...]) -> None:
    letter = letter_of(Kind.ACCOUNT_BLOCKED, language)
    assert all(way in letter.text for way in ways)


@given(st.lists(st.sampled_from(["<", ">", "b", "/", "&", "&lt;", '"', "'", " ", "<b>", "</p>"])).map("".join))
def test_a_field_is_never_markup(value: str) -> None:
    letter = LETTERS.letter(Kind.CODE, "en", {"code": value, "tag": "1"})
    assert html.escape(value) in letter.html
    assert Words(letter.html).tags == Words(LETTERS.letter(Kind.CODE, "en", {"code": "1", "tag": "1"}).html).tags


LETTERS = Templates(operator="Operator")


def test_a_kind_that_has_no_letters_goes_by_sms_alone() -> None:
    assert set(Kind) - BY_EMAIL == {Kind.PROPOSED_PASSWORD, Kind.PROPOSAL_REFUSED, Kind.SMS_HELP}, "answers to an SMS"
    assert all(LETTERS.can_say(kind, ChannelId.SMS) for kind in Kind)
    assert {kind for kind in Kind if LETTERS.can_say(kind, ChannelId.EMAIL)} == BY_EMAIL


def test_a_language_without_letters_gets_the_default_one() -> None:
    assert Templates(default_language="en").letter(Kind.CODE, "kk", {"code": "4815", "tag": "9"}).text.startswith("Hello")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("code.ru.subject.txt", "{operator}: код {code}"),
        ("code.ru.subject.txt", "Ваш код"),
        ("code.ru.subject.txt", "{operator}:\nкод"),
        ("code.ru.email.txt", "{code} {tag}"),
        ("code.ru.email.txt", "{code} {tag} {operator} {phone}"),
        ("code.ru.email.txt", "{code} {code} {tag} {operator}"),
        ("code.ru.email.txt", "{code} {tag} {operator} https://zasov.example"),
        ("code.ru.email.txt", "{code} {tag} {operator} www.zasov.example"),
        ("code.ru.email.html", "<p>{code} {tag} {operator}</p><a name=x>y</a>"),
        ("code.ru.email.html", "<p>{code} {tag} {operator}</p><img alt=x>"),
        ("code.ru.email.html", "<p style='background:url(x)'>{code} {tag} {operator}</p>"),
        ("code.ru.email.html", "<p>{code!r} {tag} {operator}</p>"),
    ],
)
def test_a_letter_that_breaks_the_rules_is_refused_at_start_up(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(TemplateError, match=re.escape(name)):
        Templates(folder)


@pytest.mark.parametrize("ending", ["subject.txt", "email.txt", "email.html"])
def test_a_missing_letter_is_found_at_start_up(folder: Path, ending: str) -> None:
    (folder / f"code.en.{ending}").unlink()
    with pytest.raises(TemplateError, match=rf"code\.en\.{re.escape(ending)}: missing"):
        Templates(folder)
