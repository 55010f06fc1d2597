"""A template: a file of text with named fields in braces, checked as it is read."""

import string
from collections.abc import Collection
from pathlib import Path


class TemplateError(Exception):
    """A template that must not be used: says which and why."""


def read_template(path: Path, fields: Collection[str]) -> str:
    """Its text, which names each of the fields once and nothing else. Raises TemplateError."""
    try:
        text = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        raise TemplateError(f"{path.name}: missing") from None
    named = _fields_of(path.name, text)
    if sorted(named) != sorted(fields):
        raise TemplateError(f"{path.name}: names {sorted(named)}, must name {sorted(fields)}")
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
