"""Where things lie. Outputs go to `build/`, all that a running stack owns to its state directory."""

import os
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
BUILD = REPO / "build"
JAVA = REPO / "devstack" / "java"


def default_state_dir() -> Path:
    """`.state/` of this checkout, or what `ZASOV_STATE_DIR` names; several stacks may stand side by side."""
    return Path(os.environ.get("ZASOV_STATE_DIR") or REPO / ".state").absolute()
