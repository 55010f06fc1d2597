"""Validity periods in the relative time format, SMPP 3.4 section 7.1.1.2: `YYMMDDhhmmsst00R`."""

import re
from datetime import timedelta

# Months have no fixed length, so that a longer relative period would mean different things to different peers.
MAX_VALIDITY = timedelta(days=30)

_RELATIVE = re.compile(r"(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)\d00R")


def relative_validity(remaining: timedelta) -> str | None:
    """The period as SMPP writes it, rounded down to whole seconds and capped at 30 days; None when under one second.

    Down, because a message must not outlive the code that it carries.
    """
    seconds = int(min(remaining, MAX_VALIDITY).total_seconds())
    if seconds < 1:
        return None
    minutes, ss = divmod(seconds, 60)
    hours, mm = divmod(minutes, 60)
    days, hh = divmod(hours, 24)
    return f"0000{days:02}{hh:02}{mm:02}{ss:02}000R"


def parse_relative_validity(period: str) -> timedelta | None:
    """The reverse, for a peer in tests and the dev stack; None for anything else. Months are 30 days, years 365."""
    if (match := _RELATIVE.fullmatch(period)) is None:
        return None
    years, months, days, hours, minutes, seconds = map(int, match.groups())
    return timedelta(days=365 * years + 30 * months + days, hours=hours, minutes=minutes, seconds=seconds)
