"""Where figures are shown to a person, or kept in a log."""

import sys

from rich.console import Console

# A log has no width; a table that is folded for one of 80 columns can be read by nobody.
_LOG_WIDTH = 200


def new_console() -> Console:
    return Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
