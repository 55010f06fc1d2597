"""A process whose role has failed ends, so that another one takes its place."""

import subprocess
import sys

import pytest

from devstack.paths import REPO

_DIES = """
import threading
from services.chassis.entrypoint import _run_or_say_why

async def role():
    # As Faust's: neither a daemon nor anything that knows of the end.
    threading.Thread(target=threading.Event().wait).start()
    raise RuntimeError("what it quotes is a secret")

_run_or_say_why(role())
"""


_HANGS = """
import asyncio
from services.chassis.lifecycle import Lifecycle

async def role():
    Lifecycle(of_a_process=True).give_up()
    await asyncio.Event().wait()

asyncio.run(role())
"""


@pytest.mark.row("B7")
def test_a_role_that_has_given_up_ends_though_its_cleaning_up_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", _HANGS], capture_output=True, text=True, timeout=30, check=False, cwd=REPO)
    assert done.returncode == 1
    assert "died" in done.stdout + done.stderr


@pytest.mark.row("B7")
def test_a_role_that_fails_ends_its_process_though_a_thread_goes_on() -> None:
    done = subprocess.run([sys.executable, "-c", _DIES], capture_output=True, text=True, timeout=30, check=False, cwd=REPO)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "died" in said
    assert "RuntimeError" in said
    assert "secret" not in said
