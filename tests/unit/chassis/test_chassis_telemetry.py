"""Logs say what they may and nothing else."""

import errno
import socket
import ssl
import subprocess
import sys

import pytest

from services.chassis import telemetry

pytestmark = pytest.mark.row("B2")

CANARY = "canary-7b1f"


def lines_of(program: str) -> str:
    """What a process that logs as ours do writes when it runs this."""
    head = (
        "import asyncio, gc, logging\n"
        "from services.chassis import telemetry\n"
        "telemetry.configure('lockout', 'server', 'INFO', None, 0.0)\n"
        f"CANARY = {CANARY!r}\n"
    )
    done = subprocess.run([sys.executable, "-c", head + program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr + done.stdout


def test_a_field_that_is_not_allowed_is_dropped_and_its_name_is_said() -> None:
    said = lines_of("telemetry.logger().info('hello', phone=CANARY, count=3)")
    assert CANARY not in said
    assert '"count": 3' in said
    assert "phone" in said


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.EADDRINUSE, CANARY), "OSError EADDRINUSE"),
        (ConnectionRefusedError(errno.ECONNREFUSED, CANARY), "ConnectionRefusedError ECONNREFUSED"),
        # The resolver's errors have numbers of their own, and so have OpenSSL's.
        (socket.gaierror(socket.EAI_NONAME, CANARY), "gaierror"),
        (ssl.SSLError(ssl.SSL_ERROR_SSL, CANARY), "SSLError"),
        (OSError(CANARY), "OSError"),
        (ValueError(CANARY), "ValueError"),
    ],
)
def test_an_error_is_named_by_its_type_and_the_system_s_name_for_it(error: Exception, name: str) -> None:
    assert telemetry.error_name(error) == name


def test_a_line_about_a_call_names_its_trace_and_any_other_line_none() -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    said = lines_of(
        "telemetry.logger().info('outside')\n"
        f"with telemetry.going_on('a call', '00-{trace_id}-00f067aa0ba902b7-01'):\n telemetry.logger().info('inside')"
    )
    (outside,), (inside,) = [[line for line in said.splitlines() if word in line] for word in ("outside", "inside")]
    assert f'"trace_id": "{trace_id}"' in inside
    assert "trace_id" not in outside


def test_a_librarys_arguments_are_never_formatted_in() -> None:
    said = lines_of("logging.getLogger('lib').warning('query %s failed', CANARY)")
    assert "query %s failed" in said
    assert CANARY not in said


def test_a_librarys_exception_is_said_by_its_type_alone() -> None:
    said = lines_of("try:\n raise LookupError(CANARY)\nexcept LookupError:\n logging.getLogger('lib').exception('failed')")
    assert "LookupError" in said
    assert CANARY not in said


def test_asyncios_own_complaint_quotes_no_exception() -> None:
    said = lines_of(
        "async def die():\n raise ValueError(CANARY)\n"
        "async def main():\n"
        " task = asyncio.create_task(die())\n"
        " await asyncio.wait({task})\n"
        " del task\n"
        " gc.collect()\n"
        "asyncio.run(main())"
    )
    assert "never retrieved" in said
    assert CANARY not in said


def test_a_process_that_dies_of_an_exception_does_not_say_its_text() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys\nfrom pathlib import Path\nfrom services.chassis import entrypoint\n"
            "from services.chassis.settings import ChassisSettings\n"
            f"async def role(settings, life):\n raise ValueError({CANARY!r})\n"
            "async def at_once(*_):\n pass\n"
            "entrypoint.until_migrated = at_once\n"
            "sys.argv = ['x', 'server']\n"
            "entrypoint.main('test', ChassisSettings, Path('/nowhere'), {'server': role})\n",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"POSTGRES_URL": "postgresql://127.0.0.1:1/none", "PATH": "/usr/bin"},
    )
    assert done.returncode == 1
    assert "ValueError" in done.stderr
    assert CANARY not in done.stderr + done.stdout
