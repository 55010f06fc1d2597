"""The commands of the local stack: up, down, status, logs, and what the demo needs."""

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from devstack.infra import Infra
from devstack.jars import BadJars
from devstack.paths import BUILD, default_state_dir
from devstack.postgres import Postgres
from devstack.stack import Stack
from devstack.state import read_json, write_json
from devstack.supervisor import ProcessDied, Supervisor, log_path, recorded, stop_recorded
from devstack.waiting import NotReady

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
console = Console()

StateDir = Annotated[Path | None, typer.Option("--state-dir", help="Where the stack keeps all it owns.")]


def main() -> None:
    # These commands need a stack's worth of modules: imported only when they are called for.
    if sys.argv[1:2] == ["handset"]:
        from devstack.handset_cli import app as handsets

        app.add_typer(handsets, name="handset")
    if sys.argv[1:2] == ["mailbox"]:
        from devstack.mailbox_cli import app as mailboxes

        app.add_typer(mailboxes, name="mailbox")
    try:
        app()
    except (BadJars, NotReady, ProcessDied) as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        sys.exit(1)


@app.command()
def up(state_dir: StateDir = None) -> None:
    """Starts the whole stack and leaves it running."""
    folder = _folder_of_a_new_stack(state_dir)
    stack = Stack(folder, detached=True, progress=_say).up()
    described = stack.describe()
    write_json(folder / "addresses.json", described)
    write_json(BUILD / "stack.json", described)
    table = Table("what", "where")
    for service, address in stack.at.grpc.items():
        table.add_row(f"{service} (gRPC)", address)
    for name, address in stack.at.metrics.items():
        table.add_row(f"{name} (metrics)", f"http://{address}/metrics")
    for service, url in stack.at.databases.items():
        table.add_row(f"{service} (PostgreSQL)", url)
    _add_parts(table, stack.infra, BUILD / "stack.json")
    console.print(table)


@app.command("infra-up")
def infra_up(state_dir: StateDir = None) -> None:
    """Starts PostgreSQL, Kafka, the SMSC and the mail server alone, for work on one service."""
    folder = _folder_of_a_new_stack(state_dir)
    supervisor = Supervisor(folder, detached=True)
    infra = Infra(supervisor, progress=_say)
    try:
        infra.begin()
        infra.wait_ready()
    except BaseException:
        supervisor.stop_all()
        raise
    write_json(folder / "infra.json", infra.addresses())
    table = Table("what", "where")
    table.add_row("PostgreSQL", infra.postgres.url("postgres"))
    _add_parts(table, infra, folder / "infra.json")
    console.print(table)


@app.command()
def down(
    state_dir: StateDir = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave data, keys and logs for the next `up`.")] = False,
) -> None:
    """Stops everything that `up` or `infra-up` left running, and empties its state directory."""
    folder = _folder(state_dir)
    for name in stop_recorded(folder):
        _say(f"{name} did not stop when asked, and was killed")
    if read_json(BUILD / "stack.json", {}).get("state_dir") == str(folder):
        (BUILD / "stack.json").unlink()  # else the handsets' commands would look for what is gone
    if keep or not folder.exists():
        return
    Postgres(folder).destroy()
    # By name, so that a wrong --state-dir costs nobody a folder of theirs.
    for name in ("kafka", "keys", "logs", "traces", "smsc", "mail"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("addresses.json", "infra.json"):
        (folder / name).unlink(missing_ok=True)


@app.command()
def status(state_dir: StateDir = None) -> None:
    """Says which processes of the stack run. Exit status 1 unless all of them do."""
    processes = recorded(_folder(state_dir))
    table = Table("process", "pid")
    for name, process in processes.items():
        table.add_row(name, str(process.pid) if process else "[red]has ended[/red]")
    console.print(table if processes else "No stack runs.")
    raise typer.Exit(0 if processes and all(processes.values()) else 1)


@app.command()
def logs(
    names: Annotated[list[str] | None, typer.Argument(help="Processes, e.g. auth-server kafka; all of them if none.")] = None,
    state_dir: StateDir = None,
    lines: Annotated[int, typer.Option(help="How many lines of the past.")] = 20,
    follow: Annotated[bool, typer.Option(help="Go on as they are written.")] = True,
) -> None:
    """Shows the logs of the stack's processes, Kafka's and PostgreSQL's included."""
    folder = _folder(state_dir)
    paths = [log_path(folder, name) for name in names] if names else sorted((folder / "logs").glob("*.log"))
    if not paths:
        console.print("No stack has written a log.")
        raise typer.Exit(1)
    os.execvp("tail", ["tail", f"--lines={lines}", *(["--follow=name"] if follow else []), *map(str, paths)])  # noqa: S606


@app.command()
def demo() -> None:
    """Plays the whole story against a stack of its own."""
    from devstack.demo import run

    run()


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
def handset(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Reads and sends SMS as a subscriber would (`handset --help`)."""
    raise AssertionError("main() puts the real commands in place of this one")


@app.command(add_help_option=False, context_settings={"ignore_unknown_options": True})
def mailbox(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Reads email as a subscriber would (`mailbox --help`)."""
    raise AssertionError("main() puts the real commands in place of this one")


def _folder(state_dir: Path | None) -> Path:
    return (state_dir or default_state_dir()).absolute()


def _folder_of_a_new_stack(state_dir: Path | None) -> Path:
    folder = _folder(state_dir)
    if any(recorded(folder).values()):
        console.print(f"A stack runs in {folder} already: `make down` ends it.")
        raise typer.Exit(1)
    return folder


def _add_parts(table: Table, infra: Infra, written_to: Path) -> None:
    found = infra.addresses()
    table.add_row("Kafka", found["kafka"]["bootstrap"])
    if "smsc" in found:
        table.add_row("SMSC", "{address}  (system id {system_id}, password {password})".format(**found["smsc"]))
        table.add_row("handsets", found["smsc"]["handsets"])
    table.add_row("mail server", "{address}  (STARTTLS, by {ca_file})".format(**found["mail"]))
    table.add_row("mailboxes", found["mail"]["mailboxes"])
    table.add_row("logs", found["logs"])
    table.add_row("all of this", str(written_to))


def _say(text: str) -> None:
    console.print(f"· {text}", highlight=False, style="dim")
