"""The texts: one file a message and language, `templates/<kind>.<language>.txt`, with named fields in braces. Those of emails
stand beside them (`letters.py`).

All are read and checked at start-up: a message that can't be written must not be found out when it is to be sent.
"""

from collections.abc import Mapping
from pathlib import Path

from services.notifier.domain import ChannelId, Kind
from services.notifier.letters import Letter, LetterTemplate
from services.notifier.moments import LONGEST_MOMENT
from services.notifier.smpp import parts_count
from services.notifier.template_files import TemplateError, read_template

__all__ = ["BY_EMAIL", "FIELDS", "LANGUAGES", "MOST_PARTS", "TemplateError", "Templates"]

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
    Kind.SIGN_IN_REOPENED: frozenset(),
    Kind.TEMPORARY_PASSWORD_USED: frozenset(),
    Kind.NEW_DEVICE: frozenset({"when"}),
    Kind.NUMBER_LINKED: frozenset(),
    Kind.CONTACT_CHANGED: frozenset(),
    Kind.OFFICE_PASSWORD: frozenset({"code", "tag"}),
    Kind.OFFICE_SLIP: frozenset({"code", "tag"}),
    Kind.CONTACT_CHANGE_REQUESTED: frozenset(),
}

# Kinds that go by email, too; an email may say more than an SMS. A kind that is not here can only be sent by SMS.
BY_EMAIL = frozenset(Kind) - {Kind.PROPOSED_PASSWORD, Kind.PROPOSAL_REFUSED, Kind.SMS_HELP}

# SMS parts are paid for. Cyrillic has 67 characters a part, 70 if alone.
MOST_PARTS: Mapping[tuple[Kind, str], int] = {
    (Kind.CODE, "ru"): 1,
    (Kind.CODE, "en"): 1,
    (Kind.TEMPORARY_PASSWORD, "ru"): 2,
    (Kind.TEMPORARY_PASSWORD, "en"): 1,
    (Kind.PROPOSED_PASSWORD, "ru"): 3,
    (Kind.PROPOSED_PASSWORD, "en"): 2,
    (Kind.PROPOSAL_REFUSED, "ru"): 3,
    (Kind.PROPOSAL_REFUSED, "en"): 1,
    (Kind.SMS_HELP, "ru"): 2,
    (Kind.SMS_HELP, "en"): 1,
    (Kind.ACCOUNT_BLOCKED, "ru"): 3,
    (Kind.ACCOUNT_BLOCKED, "en"): 2,
    (Kind.PASSWORD_CHANGED, "ru"): 3,
    (Kind.PASSWORD_CHANGED, "en"): 2,
    (Kind.SIGN_IN_REOPENED, "ru"): 3,
    (Kind.SIGN_IN_REOPENED, "en"): 2,
    (Kind.TEMPORARY_PASSWORD_USED, "ru"): 3,
    (Kind.TEMPORARY_PASSWORD_USED, "en"): 2,
    (Kind.NEW_DEVICE, "ru"): 3,
    (Kind.NEW_DEVICE, "en"): 2,
    (Kind.NUMBER_LINKED, "ru"): 3,
    (Kind.NUMBER_LINKED, "en"): 2,
    (Kind.CONTACT_CHANGED, "ru"): 3,
    (Kind.CONTACT_CHANGED, "en"): 2,
    (Kind.OFFICE_PASSWORD, "ru"): 3,
    (Kind.OFFICE_PASSWORD, "en"): 2,
    (Kind.OFFICE_SLIP, "ru"): 3,
    (Kind.OFFICE_SLIP, "en"): 2,
    (Kind.CONTACT_CHANGE_REQUESTED, "ru"): 3,
    (Kind.CONTACT_CHANGE_REQUESTED, "en"): 1,
}

_FOLDER = Path(__file__).parent / "templates"


class Templates:
    """Raises TemplateError for a missing file, an unknown, repeated or missing field, or a text of too many parts."""

    def __init__(self, folder: Path = _FOLDER, *, default_language: str = "ru", operator: str = "Zasov") -> None:
        """operator: whose name emails bear."""
        self._default = default_language
        self._letters = {
            (kind, language): LetterTemplate.load(folder, kind, language, FIELDS[kind], operator)
            for kind in BY_EMAIL
            for language in LANGUAGES
        }
        self._texts = {(kind, language): _load(folder, kind, language) for kind in Kind for language in LANGUAGES}

    def render(self, kind: Kind, language: str, fields: Mapping[str, str]) -> str:
        """A language without templates gets the default one. Raises TemplateError for other fields than the text names."""
        return self._texts[kind, self._chosen(kind, language, fields)].format_map(fields)

    def can_say(self, kind: Kind, channel: ChannelId) -> bool:
        return channel is ChannelId.SMS or kind in BY_EMAIL

    def letter(self, kind: Kind, language: str, fields: Mapping[str, str]) -> Letter:
        """As `render`, of a kind that goes by email."""
        return self._letters[kind, self._chosen(kind, language, fields)].render(fields)

    def _chosen(self, kind: Kind, language: str, fields: Mapping[str, str]) -> str:
        if fields.keys() != FIELDS[kind]:
            raise TemplateError(f"{kind}: other fields were given than the text names")
        return language if language in LANGUAGES else self._default


# The longest that a field can be, to count parts by.
_LONGEST = {"code": "0" * 12, "tag": "9" * 6, "when": LONGEST_MOMENT}


def _load(folder: Path, kind: Kind, language: str) -> str:
    name = f"{kind}.{language}.txt"
    text = read_template(folder / name, FIELDS[kind])
    parts = parts_count(text.format_map(_LONGEST))
    if parts > MOST_PARTS[kind, language]:
        raise TemplateError(f"{name}: {parts} SMS parts, at most {MOST_PARTS[kind, language]}")
    return text
