"""`python -m services.auth.office.audit KEY_FILE EVENT_ID`: who acted at an office, and where. For auditors, who hold the key.

Reads auth's event store (`ZASOV_AUTH_POSTGRES_URL`). ADR 28.
"""

import asyncio
import sys
from pathlib import Path
from uuid import UUID

from services.auth.office.staff import Staff, who_acted
from services.auth.settings import AuthSettings
from services.chassis.errors import CannotStart
from services.chassis.postgres import connect_for_long
from services.chassis.sealing import PrivateSeal, UnsealError, read_key

_BY_STAFF = ["RecoveryStartedAtOffice", "ContactChangeApproved"]


async def look_up(settings: AuthSettings, key_file: Path, event_id: UUID) -> Staff:
    """Raises CannotStart: no such event, or another key."""
    connection = await connect_for_long(settings)
    try:
        sql = "SELECT secret FROM event WHERE event_id = $1 AND type = ANY($2)"
        sealed = await connection.fetchval(sql, event_id, _BY_STAFF)
    finally:
        await connection.close()
    if sealed is None:
        raise CannotStart("no event of that id was caused by staff")
    try:
        return who_acted(PrivateSeal(read_key(key_file)), sealed)
    except UnsealError:
        raise CannotStart("sealed for another key") from None


if __name__ == "__main__":
    settings = AuthSettings()  # type: ignore[call-arg]  # from the environment
    found = asyncio.run(look_up(settings, Path(sys.argv[1]), UUID(sys.argv[2])))
    print(f"staff {found.staff_id} office {found.office_id}")  # noqa: T201
