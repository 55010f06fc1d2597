"""`python -m services.notifier {worker|relay|migrate|settings|rebuild|republish}`"""

from pathlib import Path

from services.chassis.entrypoint import main
from services.notifier import rebuild
from services.notifier.roles import relay, worker
from services.notifier.settings import NotifierSettings

if __name__ == "__main__":
    main(
        "notifier", NotifierSettings, Path(__file__).parent / "migrations", {"worker": worker, "relay": relay}, rebuild.rebuild
    )
