"""The handsets: their client and their commands."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from devstack import handset_cli
from devstack.handsets import Handsets, HandsetsRefused, HandsetsUnavailable
from devstack.smsc import Smsc
from services.notifier.smpp import SmppClient
from tests.integration.smpp.conftest import NUMBER, Inbox


async def run(*arguments: str) -> Result:
    """In a thread, because the commands bring an event loop of their own."""
    return await asyncio.to_thread(CliRunner().invoke, handset_cli.app, list(arguments))


@pytest.fixture
def stack_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(handset_cli, "BUILD", tmp_path)
    return tmp_path / "stack.json"


async def text_to_handset(client: SmppClient, text: str) -> None:
    await client.submit(destination=NUMBER, text=text, source="Zasov", validity=timedelta(minutes=5), reference=0)


async def test_a_wait_ends_at_the_arrival(client: SmppClient, handsets: Handsets) -> None:
    waiting = asyncio.ensure_future(handsets.wait(NUMBER, timeout=5))
    await handsets.state()  # answered after the wait's connection was made
    assert not waiting.done()
    await text_to_handset(client, "here")
    assert (await waiting).text == "here"


async def test_a_wait_in_vain_is_a_timeout(handsets: Handsets) -> None:
    with pytest.raises(TimeoutError):
        await handsets.wait(NUMBER, timeout=0.05)


async def test_a_number_is_one_handset_however_it_is_written(client: SmppClient, handsets: Handsets) -> None:
    await text_to_handset(client, "hi")
    await handsets.wait(NUMBER)
    assert len(await handsets.messages("+7 (916) 000-00-01")) == 1


async def test_what_makes_no_sense_is_refused(handsets: Handsets) -> None:
    with pytest.raises(HandsetsRefused, match="no such knob"):
        await handsets.set_behaviour(mood="bad")
    with pytest.raises(HandsetsRefused, match="digits"):
        await handsets.messages("nobody")


async def test_an_absent_smsc_is_told_from_a_refusing_one(unused_tcp_port: int) -> None:
    with pytest.raises(HandsetsUnavailable):
        await Handsets(f"127.0.0.1:{unused_tcp_port}").messages(NUMBER)


@pytest.mark.parametrize("key", ["control", "handsets"])
async def test_the_commands_find_the_stack_and_show_messages(
    client: SmppClient, smsc: Smsc, stack_json: Path, key: str
) -> None:
    stack_json.write_text(json.dumps({"smsc": {key: smsc.control_address}}))  # noqa: ASYNC240
    assert "No messages yet" in (await run("read", NUMBER)).output
    await text_to_handset(client, "[b]Код 1234[/b]")
    waited = await run("wait", NUMBER, "--after", "0", "--timeout", "5")
    assert "[b]Код 1234[/b]" in waited.output
    assert waited.exit_code == 0
    assert "[b]Код 1234[/b]" in (await run("read", NUMBER)).output


async def test_a_text_can_be_sent_from_the_command_line(
    client: SmppClient, handsets: Handsets, smsc: Smsc, inbox: Inbox
) -> None:
    sent = await run("send", NUMBER, "3339", "ПАРОЛЬ", "--control", smsc.control_address)
    assert sent.exit_code == 0
    text = await inbox.text()
    assert (text.source, text.destination, text.body) == (NUMBER, "3339", "ПАРОЛЬ".encode("utf-16-be"))


async def test_without_a_stack_the_commands_say_so_in_one_line(stack_json: Path, unused_tcp_port: int) -> None:
    for arguments in ([], ["--control", f"127.0.0.1:{unused_tcp_port}"]):
        result = await run("read", NUMBER, *arguments)
        assert result.exit_code == 1
        assert result.output.startswith("The stack is not up")
        assert len(result.output.splitlines()) == 1


async def test_a_wait_in_vain_says_so_in_one_line(smsc: Smsc) -> None:
    result = await run("wait", NUMBER, "--timeout", "0.05", "--control", smsc.control_address)
    assert (result.exit_code, len(result.output.splitlines())) == (1, 1)
