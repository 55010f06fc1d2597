"""The words of an email: `templates/<kind>.<language>.subject.txt`, `….email.txt` and `….email.html`.

The subject names the operator and nothing else: it is shown on locked screens and kept in logs of mail servers. The two parts
say the same. Nothing in them is a link: subscribers shall learn that a message which has one is not ours.
"""

import html
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from services.notifier.template_files import TemplateError, read_template

_OPERATOR = "operator"
_LINK = re.compile(r"https?:|www\.|mailto:|<a\b|<img\b|<link\b|<script\b|<form\b|\bhref\b|\bsrc\b|url\(", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Letter:
    """What an email says: its subject, and its text twice."""

    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class LetterTemplate:
    subject: str
    text: str
    html: str
    operator: str

    @classmethod
    def load(cls, folder: Path, kind: str, language: str, fields: Collection[str], operator: str) -> "LetterTemplate":
        """Raises TemplateError: a file is missing, has other fields, or a link; the subject is not one line."""
        name, all_fields = f"{kind}.{language}", {*fields, _OPERATOR}
        subject = read_template(folder / f"{name}.subject.txt", {_OPERATOR})
        if not subject.isprintable():
            raise TemplateError(f"{name}.subject.txt: a subject is one line")
        bodies = []
        for ending in ("email.txt", "email.html"):
            body = read_template(folder / f"{name}.{ending}", all_fields)
            if _LINK.search(body):
                raise TemplateError(f"{name}.{ending}: a link")
            bodies.append(body)
        return cls(subject, bodies[0], bodies[1], operator)

    def render(self, fields: Mapping[str, str]) -> Letter:
        plain = {**fields, _OPERATOR: self.operator}
        escaped = {name: html.escape(value) for name, value in plain.items()}
        return Letter(self.subject.format_map(plain), self.text.format_map(plain), self.html.format_map(escaped))
