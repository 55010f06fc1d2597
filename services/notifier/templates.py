"""The texts: one file a message and language, `templates/<kind>.<language>.txt`, with named fields in braces.

All are read and checked at start-up: a message that can't be written must not be found out when it is to be sent.
"""

import string
from collections.abc import Mapping
from pathlib import Path

from services.notifier.domain import Kind
from services.notifier.smpp import parts_count

LANGUAGES = ("ru", "en")

# What each message's text must name, each exactly once, and nothing else.
FIELDS: Mapping[Kind, frozenset[str]] = {
    Kind.CODE: frozenset({"code", "tag"}),
    Kind.TEMPORARY_PASSWORD: frozenset({"code", "tag"}),
    Kind.PROPOSED_PASSWORD: frozenset({"code", "tag"}),
    Kind.PROPOSAL_REFUSED: frozenset(),
    Kind.SMS_HELP: frozenset(),
    Kind.ACCOUNT_BLOCKED: frozenset(),
    Kind.PASSWORD_CHANGED: frozenset(),
}

# SMS parts are paid for. Cyrillic has 67 characters a part, 70 if alone.
MOST_PARTS: Mapping[tuple[Kind, str], int] = {
    (Kind.CODE, "ru"): 1,
    (Kind.CODE, "en"): 1,
    (Kind.TEMPORARY_PASSWORD, "ru"): 2,
    (Kind.TEMPORARY_PASSWORD, "en"): 1,
    (Kind.PROPOSED_PASSWORD, "ru"): 3,
    (Kind.PROPOSED_PASSWORD, "en"): 2,
    (Kind.PROPOSAL_REFUSED, "ru"): 3,
    (Kind.PROPOSAL_REFUSED, "en"): 2,
    (Kind.SMS_HELP, "ru"): 3,
    (Kind.SMS_HELP, "en"): 2,
    (Kind.ACCOUNT_BLOCKED, "ru"): 3,
    (Kind.ACCOUNT_BLOCKED, "en"): 2,
    (Kind.PASSWORD_CHANGED, "ru"): 3,
    (Kind.PASSWORD_CHANGED, "en"): 2,
}

_FOLDER = Path(__file__).parent / "templates"


class TemplateError(Exception):
    """A template that must not be used: says which and why."""


class Templates:
    """Raises TemplateError for a missing file, an unknown, repeated or missing field, or a text of too many parts."""

    def __init__(self, folder: Path = _FOLDER, *, default_language: str = "ru") -> None:
        self._default = default_language
        self._texts = {(kind, language): _load(folder, kind, language) for kind in Kind for language in LANGUAGES}

    def render(self, kind: Kind, language: str, fields: Mapping[str, str]) -> str:
        """A language without templates gets the default one. Raises TemplateError for other fields than the text names."""
        if fields.keys() != FIELDS[kind]:
            raise TemplateError(f"{kind}: other fields were given than the text names")
        chosen = language if language in LANGUAGES else self._default
        return self._texts[kind, chosen].format_map(fields)


# The longest that a field can be, to count parts by.
_LONGEST = {"code": "0" * 10, "tag": "9" * 6}


def _load(folder: Path, kind: Kind, language: str) -> str:
    name = f"{kind}.{language}.txt"
    try:
        text = (folder / name).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise TemplateError(f"{name}: missing") from None
    named = _fields_of(name, text)
    if sorted(named) != sorted(FIELDS[kind]):
        raise TemplateError(f"{name}: names {sorted(named)}, must name {sorted(FIELDS[kind])}")
    parts = parts_count(text.format_map(_LONGEST))
    if parts > MOST_PARTS[kind, language]:
        raise TemplateError(f"{name}: {parts} SMS parts, at most {MOST_PARTS[kind, language]}")
    return text


def _fields_of(name: str, text: str) -> list[str]:
    try:
        pieces = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(f"{name}: {error}") from None
    named = []
    for _, field, form, conversion in pieces:
        if field is None:
            continue
        # Attributes and formats would let a text reach into what it is given.
        if not field.isidentifier() or form or conversion:
            raise TemplateError(f"{name}: a field is a plain name")
        named.append(field)
    return named
