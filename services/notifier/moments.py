"""When something happened, as a message says it: in the operator's time, with the distance from UTC, for nobody knows which
zone a subscriber is in.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Beyond it, in some zone, there is no datetime; a foreign id may say anything.
_LAST = (datetime(9999, 12, 30, tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
LONGEST_MOMENT = "30 Sep, 23:59 (UTC+05:45)"


class Moments:
    """zone: IANA's name. Raises ValueError for one that is unknown."""

    def __init__(self, zone: str) -> None:
        try:
            self._zone = ZoneInfo(zone)
        except (ZoneInfoNotFoundError, OSError, ValueError):
            raise ValueError("not the name of a time zone") from None

    def of(self, event_id: UUID, language: str) -> str:
        """The moment in the id of an event, a UUIDv7 (RFC 9562, 5.7): "23.11 в 14:32 (UTC+3)". Ours are made of the time of the
        database that the event stands in.
        """
        at = (_EPOCH + timedelta(milliseconds=min(event_id.int >> 80, _LAST))).astimezone(self._zone)
        day = f"{at:%d.%m} в" if language == "ru" else f"{at.day} {_MONTHS[at.month - 1]},"
        return f"{day} {at:%H:%M} ({_offset(at)})"


def _offset(at: datetime) -> str:
    sign, hours, minutes = f"{at:%z}"[0], int(f"{at:%z}"[1:3]), f"{at:%z}"[3:5]
    return f"UTC{sign}{hours}" + (f":{minutes}" if minutes != "00" else "")
