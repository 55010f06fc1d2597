"""`python -m services.lockout {server|stream|relay|migrate|settings|rebuild|republish|dead-letters}`"""

from pathlib import Path

from services.chassis.entrypoint import main
from services.lockout import rebuild, roles
from services.lockout.settings import LockoutSettings

if __name__ == "__main__":
    main(
        "lockout",
        LockoutSettings,
        Path(__file__).parent / "migrations",
        {"server": roles.server, "stream": roles.stream, "relay": roles.relay},
        rebuild.rebuild,
        roles.DEAD_LETTER_TOPICS,
    )
