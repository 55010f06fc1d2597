"""A process whose clock is set apart has Python's time moved, and calls others as any process does."""

import os
import subprocess
import sys
import time

import pytest

from devstack.paths import REPO

# Says its own time, and how long the server was told that the call had left.
_PROGRAM = """
import asyncio, time, grpc

async def answer(request, context):
    return str(context.time_remaining()).encode()

async def main():
    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a", {"b": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        left = await channel.unary_unary("/a/b")(b"", timeout=30)
    await server.stop(None)
    print(time.time(), float(left))

asyncio.run(main())
"""


@pytest.mark.parametrize("skew_s", [-7200, 7200])
def test_a_process_with_another_clock_calls_others_within_its_time(skew_s: int) -> None:
    environment = {
        "PYTHONPATH": str(REPO / "tests/faults/skewed_clock"),
        "CLOCK_SKEW_S": str(skew_s),
        "PATH": os.environ["PATH"],
    }
    argv = [sys.executable, "-c", _PROGRAM]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=True)
    said, left = map(float, done.stdout.split())
    assert abs(said - time.time() - skew_s) < 60
    assert 0 < left <= 31
