"""Figures as a person reads them."""

from typing import Any

from rich.table import Table


def table(title: str, figures: dict[str, Any]) -> Table:
    """Figures that are dictionaries are listed within, the largest first."""
    shown = Table("figure", "value", title=title, title_justify="left")
    for name, value in figures.items():
        if isinstance(value, dict):
            value = "\n".join(f"{key}: {one}" for key, one in sorted(value.items(), key=lambda item: -item[1]))
        shown.add_row(name, str(value))
    return shown
