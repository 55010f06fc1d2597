"""`python -m devstack handset …`: a subscriber's phone on the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from devstack.handsets import HandsetMessage, HandsetsRefused, HandsetsSync, HandsetsUnavailable
from devstack.paths import BUILD

app = typer.Typer(no_args_is_help=True, help="Reads and sends SMS as a subscriber would.")
T = TypeVar("T")
out = Console()
err = Console(stderr=True)

Number = Annotated[str, typer.Argument(help="the handset's number, in any spelling: +79160000001")]
ControlAddress = Annotated[
    str | None, typer.Option("--control", help="the SMSC's control address, instead of the one in build/stack.json")
]


@app.command()
def read(number: Number, control: ControlAddress = None) -> None:
    """Shows all messages of a handset."""
    messages = _ask(control, lambda handsets: handsets.messages(number))
    if not messages:
        out.print("No messages yet.")
    for message in messages:
        _show(message)


@app.command()
def wait(
    number: Number,
    timeout: Annotated[float, typer.Option(help="seconds")] = 30.0,
    after: Annotated[int | None, typer.Option(help="the index to start behind; the newest message by default")] = None,
    control: ControlAddress = None,
) -> None:
    """Waits for the next message of a handset."""

    def following(handsets: HandsetsSync) -> HandsetMessage:
        start = len(handsets.messages(number)) if after is None else after
        return handsets.wait(number, after=start, timeout=timeout)

    _show(_ask(control, following))


@app.command()
def send(
    number: Number,
    to: Annotated[str, typer.Argument(help="whom to: 3339, 111")],
    text: str,
    control: ControlAddress = None,
) -> None:
    """Sends a text from a handset."""
    _ask(control, lambda handsets: handsets.send(number, to, text))
    out.print("Sent.")


@app.command()
def switch(number: Number, state: Annotated[str, typer.Argument(help="on or off")], control: ControlAddress = None) -> None:
    """Switches a handset off or on; meanwhile the SMSC holds its messages until they expire."""
    if state not in ("on", "off"):
        _fail("A handset is switched on or off.")
    _ask(control, lambda handsets: handsets.switch(number, on=state == "on"))


def _ask(control: str | None, question: Callable[[HandsetsSync], T]) -> T:
    try:
        return question(HandsetsSync(control or _control_address()))
    except HandsetsUnavailable as error:
        _fail(f"The stack is not up: {error}.")
    except HandsetsRefused as error:
        _fail(f"The SMSC refused: {error}.")
    except TimeoutError as error:
        _fail(f"Nothing arrived: {error}.")
    except ValueError:
        _fail("A control address is wanted, such as 127.0.0.1:2776.")


def _show(message: HandsetMessage) -> None:
    arrived = message.received_at.astimezone().strftime("%H:%M:%S")
    parts = "" if message.parts == 1 else f", {message.parts} parts"
    # Text, not markup: a message may well hold square brackets.
    title = Text(f"#{message.index} from {message.source} at {arrived}{parts}")
    out.print(Panel(Text(message.text), title=title, title_align="left", expand=False))


def _control_address() -> str:
    file = BUILD / "stack.json"
    try:
        smsc = json.loads(Path(file).read_text())["smsc"]
        return str(smsc.get("control") or smsc["handsets"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        _fail("The stack is not up (no SMSC in build/stack.json): start it with `make up`.")


def _fail(reason: str) -> NoReturn:
    err.print(Text(reason), soft_wrap=True)
    raise typer.Exit(1)
