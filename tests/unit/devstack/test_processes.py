"""The local stack's processes: several of a kind, and whole families that stand still."""

import signal
from pathlib import Path

import psutil
import pytest

from devstack.child import Child
from devstack.stack import Stack
from devstack.waiting import until
from devstack.wiring import CAPTCHA_TEXT, ROLES, replicated
from services.auth.settings import AuthSettings


def test_two_servers_of_a_service_have_addresses_of_their_own_and_clients_dial_both(tmp_path: Path) -> None:
    roles = [one for role in ROLES for one in replicated(role, 2 if role.name == "auth-server" else 1)]
    stack = Stack(tmp_path, roles=roles)
    first, second = stack.at.listen["auth-server"], stack.at.listen["auth-server-2"]
    assert first != second
    assert stack.at.grpc["auth"] == f"ipv4:{first},{second}"
    assert stack.at.grpc["otp"] == stack.at.listen["otp-server"], "one server is dialled as it is"
    environments = {role.name: stack.environment_of(role) for role in roles}
    assert environments["auth-server-2"]["ZASOV_AUTH_LISTEN"] == second
    assert environments["notifier-worker"]["ZASOV_NOTIFIER_AUTH_ADDRESS"] == stack.at.grpc["auth"]
    assert len({one["ZASOV_AUTH_METRICS_LISTEN"] for name, one in environments.items() if name.startswith("auth")}) == 4


@pytest.mark.row("M9")
def test_a_local_stacks_auth_asks_for_captchas_whose_characters_are_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stack = Stack(tmp_path)
    told = {role.name: stack.environment_of(role) for role in ROLES if role.service == "auth"}
    assert {name for name, one in told.items() if any("CAPTCHA" in key for key in one)} == {"auth-server"}
    for name, text in told["auth-server"].items():
        if name.startswith("ZASOV_AUTH_"):
            monkeypatch.setenv(name, text)
    settings = AuthSettings()  # type: ignore[call-arg]
    assert (settings.captcha_provider, settings.captcha_fixed_text) == ("picture", CAPTCHA_TEXT)


def test_a_process_stands_still_and_goes_on_with_all_its_children(tmp_path: Path) -> None:
    """Else a PostgreSQL that is stopped would go on answering: its backends do the work."""
    child = Child(["sh", "-c", "sleep 600 & wait"], log=tmp_path / "log")
    try:
        until("the child's own child", lambda: len(_family(child)) == 2)
        child.send(signal.SIGSTOP)
        until("all stand still", lambda: {one.status() for one in _family(child)} == {psutil.STATUS_STOPPED})
        child.send(signal.SIGCONT)
        until("all go on", lambda: psutil.STATUS_STOPPED not in {one.status() for one in _family(child)})
    finally:
        for one in _family(child):
            one.kill()
        child.wait(timeout=10)


def _family(child: Child) -> list[psutil.Process]:
    parent = psutil.Process(child.pid)
    return [parent, *parent.children(recursive=True)]
