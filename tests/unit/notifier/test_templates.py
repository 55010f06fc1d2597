"""Every message can be written in every language, and nothing else can."""

import shutil
from pathlib import Path

import pytest

from services.notifier import templates
from services.notifier.domain import Kind
from services.notifier.smpp import parts_count
from services.notifier.templates import FIELDS, LANGUAGES, MOST_PARTS, TemplateError, Templates
from services.otp.codes import PASSWORD_LENGTHS

# The longest that there are; CODE is what a code's text names.
VALUES = {"code": "W" * max(PASSWORD_LENGTHS.values()), "tag": "999999", "when": "30 Sep, 23:59 (UTC+05:45)"}
CODE = {"code": "48151623", "tag": "999999"}

# What each message costs with the longest fields. A longer text fails here: say so in the change that makes it dearer.
PARTS = {
    Kind.CODE: {"ru": 1, "en": 1},
    Kind.TEMPORARY_PASSWORD: {"ru": 2, "en": 1},
    Kind.PROPOSED_PASSWORD: {"ru": 3, "en": 2},
    Kind.PROPOSAL_REFUSED: {"ru": 3, "en": 1},
    Kind.SMS_HELP: {"ru": 2, "en": 1},
    Kind.ACCOUNT_BLOCKED: {"ru": 3, "en": 2},
    Kind.PASSWORD_CHANGED: {"ru": 3, "en": 2},
    Kind.SIGN_IN_REOPENED: {"ru": 3, "en": 2},
    Kind.TEMPORARY_PASSWORD_USED: {"ru": 3, "en": 2},
    Kind.NEW_DEVICE: {"ru": 3, "en": 2},
    Kind.NUMBER_LINKED: {"ru": 3, "en": 2},
    Kind.CONTACT_CHANGED: {"ru": 3, "en": 2},
    Kind.OFFICE_PASSWORD: {"ru": 3, "en": 2},
    Kind.OFFICE_SLIP: {"ru": 3, "en": 2},
    Kind.CONTACT_CHANGE_REQUESTED: {"ru": 3, "en": 1},
}

# What the message of a secret tells whoever didn't ask for it, or is asked for it. The shortest have room for one of these.
UNASKED = {
    Kind.CODE: {"ru": ("Никому не сообщайте",), "en": ("Do not tell it to anyone",)},
    Kind.TEMPORARY_PASSWORD: {"ru": ("Никому не сообщайте",), "en": ("Do not tell it to anyone",)},
    Kind.PROPOSED_PASSWORD: {
        "ru": ("Если вы ничего не предлагали, просто не пользуйтесь этим паролем: ничего не изменится",),
        "en": ("If you proposed none, ignore this: nothing changes",),
    },
    Kind.OFFICE_PASSWORD: {
        "ru": ("Никому его не сообщайте, сотрудникам тоже", "Если вы не были в офисе, не вводите его и сообщите нам"),
        "en": ("Tell it to no one, our staff included", "Were you not there? Then let us know"),
    },
    Kind.OFFICE_SLIP: {
        "ru": ("Никому не сообщайте", "Если вы не были в офисе, сообщите нам"),
        "en": ("Tell no one", "Were you not there? Let us know"),
    },
}


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
    assert parts_count(text) == PARTS[kind][language] == MOST_PARTS[kind, language]


@pytest.mark.row("M20")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", [kind for kind in Kind if "code" in FIELDS[kind]])
def test_who_gets_a_secret_unasked_is_told_what_to_do(kind: Kind, language: str) -> None:
    """Above all the answer to a proposal, which a stranger makes in their name: else they use it, and have his password."""
    text = Templates().render(kind, language, {name: VALUES[name] for name in FIELDS[kind]})
    assert all(words in text for words in UNASKED[kind][language])


@pytest.mark.row("M10")
def test_the_text_of_a_code_names_its_request() -> None:
    text = Templates().render(Kind.CODE, "ru", {"code": "1234", "tag": "47"})
    assert text == "Код 1234 (запрос № 47). Никому не сообщайте."


@pytest.mark.row("M3")
@pytest.mark.parametrize(
    ("language", "ways"),
    [
        ("ru", ("Забыли пароль?", "пароль по SMS", "«ПАРОЛЬ» на 3339", "офис")),
        ("en", ("Forgot password?", "one-time password", "PAROL to 3339", "office")),
    ],
)
def test_the_notice_of_a_block_tells_the_ways_out(language: str, ways: tuple[str, ...]) -> None:
    text = Templates().render(Kind.ACCOUNT_BLOCKED, language, {})
    assert all(way in text for way in ways)


@pytest.mark.row("M20")
@pytest.mark.parametrize(("language", "open_again"), [("ru", "снова открыт"), ("en", "open again")])
def test_what_lifts_a_block_is_told_as_such_and_an_ordinary_new_password_is_not(language: str, open_again: str) -> None:
    texts = Templates()
    for kind in (Kind.SIGN_IN_REOPENED, Kind.TEMPORARY_PASSWORD_USED):
        assert open_again in texts.render(kind, language, {})
    assert open_again not in texts.render(Kind.PASSWORD_CHANGED, language, {})


def test_a_language_without_texts_gets_the_default_one() -> None:
    assert Templates(default_language="en").render(Kind.CODE, "kk", CODE).startswith("Code")


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
