"""What the README shows runs as it stands there."""

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

from devstack.stack import Stack
from tests.e2e.system import System

_README = Path(__file__).parents[2] / "README.md"


async def test_the_example_of_the_readme_runs_against_a_running_stack(system: System, tmp_path: Path) -> None:
    (example,) = re.findall(r"test_readme.py -->\n```python\n(.*?)```", _README.read_text(), re.DOTALL)
    (tmp_path / "build").mkdir()
    (tmp_path / "build" / "stack.json").write_text(json.dumps(system.stack.describe()))
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", example], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "a code of 4 digits is on its way" in done.stdout
    assert (await system.handsets.wait("+79161234567", timeout=20)).text
    (number,) = re.findall(r"-m devstack handset read (\S+)", _README.read_text())
    addresses = system.stack.describe()["smsc"]
    command = [sys.executable, "-m", "devstack", "handset", "read", number, "--control", addresses["handsets"]]
    read = await asyncio.to_thread(subprocess.run, command, cwd=_README.parent, capture_output=True, text=True, timeout=60)
    assert "Code " in read.stdout, read.stderr


def test_the_readme_tells_what_stands_in_the_stacks_file_and_nothing_else(stack: Stack) -> None:
    (table,) = re.findall(r"\| in `build/stack.json` \|.*?\n\n", _README.read_text(), re.DOTALL)
    told = re.findall(r"`(\w+)`", " ".join(line.split("|")[1] for line in table.splitlines()[2:] if line))
    assert sorted(told) == sorted(stack.describe())
