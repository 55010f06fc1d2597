"""Time is the database's (docs/architecture.md, rule 5); between two looks at it, elapsed time is the kernel's."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

# Counts suspension too: a virtual machine that slept must know that it did. macOS' monotonic clock is the nearest there is.
_ELAPSED_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boottime() -> float:
    """Seconds since some fixed moment, suspension included."""
    return time.clock_gettime(_ELAPSED_CLOCK)


@dataclass(frozen=True, slots=True)
class DatabaseTime:
    """A reading of the database's clock that can be carried forward without asking again."""

    read: datetime
    at_boottime: float

    @classmethod
    def just_read(cls, read: datetime) -> "DatabaseTime":
        return cls(read, boottime())

    def now(self) -> datetime:
        """The database's time now, as far as the kernel's elapsed time tells."""
        return self.read + timedelta(seconds=boottime() - self.at_boottime)
