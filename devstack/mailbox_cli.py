"""`python -m devstack mailbox …`: a subscriber's mailbox on the command line."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from devstack.mailboxes import Mail, Mailboxes, MailboxesRefused, MailboxesUnavailable
from devstack.paths import BUILD

app = typer.Typer(no_args_is_help=True, help="Reads email as a subscriber would, and makes the mail server misbehave.")
T = TypeVar("T")
out = Console()
err = Console(stderr=True)

Address = Annotated[str, typer.Argument(help="the mailbox's address: anna@example.com")]
ControlAddress = Annotated[
    str | None, typer.Option("--control", help="the mail server's control address, instead of the one in build/stack.json")
]


@app.command()
def read(address: Address, control: ControlAddress = None) -> None:
    """Shows all messages of a mailbox."""
    messages = _ask(control, lambda mailboxes: mailboxes.messages(address))
    if not messages:
        out.print("No messages yet.")
    for message in messages:
        _show(message)


@app.command()
def wait(
    address: Address,
    timeout: Annotated[float, typer.Option(help="seconds")] = 30.0,
    after: Annotated[int | None, typer.Option(help="the index to start behind; the newest message by default")] = None,
    control: ControlAddress = None,
) -> None:
    """Waits for the next message of a mailbox."""

    async def following(mailboxes: Mailboxes) -> Mail:
        start = len(await mailboxes.messages(address)) if after is None else after
        return await mailboxes.wait(address, after=start, timeout=timeout)

    _show(_ask(control, following))


@app.command()
def behave(
    knobs: Annotated[list[str] | None, typer.Argument(help="such as refuse_count=3 refuse_code=550; none: obeys again")] = None,
    control: ControlAddress = None,
) -> None:
    """Makes the mail server misbehave (the knobs: devstack/mail_sink.py)."""
    if not knobs:
        _ask(control, lambda mailboxes: mailboxes.reset_behaviour())
        return
    values = {name: _value(text) for name, _, text in (knob.partition("=") for knob in knobs)}
    out.print_json(data=_ask(control, lambda mailboxes: mailboxes.set_behaviour(**values)))


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _ask(control: str | None, question: Callable[[Mailboxes], Coroutine[Any, Any, T]]) -> T:
    try:
        return asyncio.run(question(Mailboxes(control or _control_address())))
    except MailboxesUnavailable as error:
        _fail(f"The stack is not up: {error}.")
    except MailboxesRefused as error:
        _fail(f"The mail server refused: {error}.")
    except TimeoutError as error:
        _fail(f"Nothing arrived: {error}.")
    except ValueError:
        _fail("A control address is wanted, such as 127.0.0.1:2526.")


def _show(message: Mail) -> None:
    arrived = message.received_at.astimezone().strftime("%H:%M:%S")
    # Text, not markup: a message may well hold square brackets.
    title = Text(f"#{message.index} at {arrived}: {message.subject}")
    out.print(Panel(Text(message.text.strip()), title=title, title_align="left", expand=False))


def _control_address() -> str:
    try:
        return str(json.loads((BUILD / "stack.json").read_text())["mail"]["mailboxes"])
    except (OSError, ValueError, KeyError, TypeError):
        _fail("The stack is not up (no mail server in build/stack.json): start it with `make up`.")


def _fail(reason: str) -> NoReturn:
    err.print(Text(reason), soft_wrap=True)
    raise typer.Exit(1)
