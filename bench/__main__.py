"""`make bench`: the benchmarks that the README quotes; figures in build/bench.json.

`python -m bench signin`, `recovery`, `sms` runs one of them alone, and changes its own figures only.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import grpc
import uvloop

from bench import recovery, signin, sms
from bench.report import table
from devstack.handsets import Handsets
from devstack.paths import BUILD
from devstack.stack import Stack
from devstack.state import write_json
from devstack.subscriber import BackEnd
from devstack.terminal import new_console
from devstack.wiring import SERVICES

# What an operator would run with, not what a person who looks wants to see.
_OVERRIDES = {service: {f"ZASOV_{service.upper()}_TRACE_SAMPLE_RATIO": "0.01"} for service in SERVICES}
_FIGURES = BUILD / "bench.json"
_WITH_STACK = {"signin": "Sign-in", "recovery": "Forgot password"}
_TITLES = {**_WITH_STACK, "sms": "SMS through one session"}

console = new_console()


def main(names: list[str]) -> None:
    figures: dict[str, Any] = json.loads(_FIGURES.read_text()) if names and _FIGURES.exists() else {}
    wanted = names or list(_TITLES)
    measured = _on_a_stack(wanted) if _WITH_STACK.keys() & wanted else {}
    if "sms" in wanted:
        measured["sms"] = uvloop.run(sms.measure())  # the stack is gone, and leaves it the machine
    for name, of_one in measured.items():
        console.print(table(_TITLES[name], of_one))
        figures |= of_one
    write_json(_FIGURES, figures)
    console.print(f"The same in {_FIGURES}", style="dim", highlight=False)


def _on_a_stack(wanted: list[str]) -> dict[str, dict[str, Any]]:
    with (
        tempfile.TemporaryDirectory(prefix="zasov-bench-") as folder,
        Stack(
            Path(folder), settings_overrides=_OVERRIDES, progress=lambda text: console.print(f"· {text}", style="dim")
        ) as stack,
    ):
        return uvloop.run(_measure(stack.describe(), wanted))


async def _measure(addresses: dict[str, Any], wanted: list[str]) -> dict[str, dict[str, Any]]:
    figures = {}
    async with grpc.aio.insecure_channel(addresses["grpc"]["auth"]) as channel:
        back_end, handsets = BackEnd(channel), Handsets(addresses["smsc"]["handsets"])
        if "signin" in wanted:
            figures["signin"] = await signin.measure(addresses, back_end, handsets)
        if "recovery" in wanted:
            figures["recovery"] = await recovery.measure(back_end, handsets, addresses["databases"])
    return figures


if __name__ == "__main__":
    main(sys.argv[1:])
