"""`python -m services.notifier {worker|server|relay|migrate|settings|rebuild|republish|dead-letters}`"""

from pathlib import Path

from services.chassis.entrypoint import main
from services.notifier import rebuild
from services.notifier.roles import DEAD_LETTER_TOPICS, relay, server, worker
from services.notifier.settings import NotifierSettings

if __name__ == "__main__":
    main(
        "notifier",
        NotifierSettings,
        Path(__file__).parent / "migrations",
        {"worker": worker, "server": server, "relay": relay},
        rebuild.rebuild,
        DEAD_LETTER_TOPICS,
    )
