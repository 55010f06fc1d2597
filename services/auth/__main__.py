"""`python -m services.auth {server|worker|relay|migrate|settings|rebuild|republish|dead-letters}`"""

from pathlib import Path

from services.auth import rebuild, roles
from services.auth.settings import AuthSettings
from services.chassis.entrypoint import main

if __name__ == "__main__":
    main(
        "auth",
        AuthSettings,
        Path(__file__).parent / "migrations",
        {"server": roles.server, "worker": roles.worker, "relay": roles.relay},
        rebuild.rebuild,
        roles.DEAD_LETTER_TOPICS,
    )
