"""Every message can be written in every language, and nothing else can."""

import shutil
from pathlib import Path

import pytest

from services.notifier import templates
from services.notifier.domain import Kind
from services.notifier.smpp import parts_count
from services.notifier.templates import FIELDS, LANGUAGES, MOST_PARTS, TemplateError, Templates

VALUES = {"code": "48151623", "tag": "999999"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copy = tmp_path / "templates"
    shutil.copytree(Path(templates.__file__).parent / "templates", copy)
    return copy


@pytest.mark.row("M20")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(Kind))
def test_every_message_is_written_in_every_language_within_its_parts(kind: Kind, language: str) -> None:
    fields = {name: VALUES[name] for name in FIELDS[kind]}
    text = Templates().render(kind, language, fields)
    assert all(value in text for value in fields.values())
    assert "{" not in text
    assert parts_count(text) <= MOST_PARTS[kind, language]


@pytest.mark.row("M10")
def test_the_text_of_a_code_names_its_request() -> None:
    text = Templates().render(Kind.CODE, "ru", {"code": "1234", "tag": "47"})
    assert text == "Код 1234 (запрос № 47). Никому не сообщайте."


@pytest.mark.row("M3")
@pytest.mark.parametrize(("language", "ways"), [("ru", ("Забыли пароль?", "офисе")), ("en", ("Forgot password?", "office"))])
def test_the_notice_of_a_block_tells_the_ways_out(language: str, ways: tuple[str, str]) -> None:
    text = Templates().render(Kind.ACCOUNT_BLOCKED, language, {})
    assert all(way in text for way in ways)


def test_a_language_without_texts_gets_the_default_one() -> None:
    assert Templates(default_language="en").render(Kind.CODE, "kk", VALUES).startswith("Code")


def test_other_fields_than_the_text_names_are_refused() -> None:
    for fields in ({"code": "1"}, {"code": "1", "tag": "2", "phone": "3"}):
        with pytest.raises(TemplateError):
            Templates().render(Kind.CODE, "ru", fields)


@pytest.mark.parametrize(
    "text",
    [
        "Код {code} ({tag}) {phone}",  # unknown
        "Код {code}",  # missing
        "Код {code} {code} ({tag})",  # repeated
        "Код {code.__class__} ({tag})",
        "Код {code:>100} ({tag})",
        "Код {code!r} ({tag})",
        "Код {} ({tag})",
        "Код {code ({tag})",
        "Код {code} ({tag})" + "!" * 70,  # two parts
    ],
)
def test_a_template_that_breaks_the_rules_is_refused_at_start_up(folder: Path, text: str) -> None:
    (folder / "code.ru.txt").write_text(text)
    with pytest.raises(TemplateError):
        Templates(folder)


def test_a_missing_template_is_found_at_start_up(folder: Path) -> None:
    (folder / "code.en.txt").unlink()
    with pytest.raises(TemplateError, match=r"code\.en\.txt"):
        Templates(folder)
