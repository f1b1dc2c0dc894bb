"""How commands speak: plain lines with elapsed time, errors on stderr, JSON where a script reads it."""

import sys
import time
from typing import Any, NoReturn

import orjson
import typer
from rich.console import Console

from cluster.bring_up import Event

OK, FAILED, BAD_INPUT, DOES_NOT_FIT, NOT_RUNNING = 0, 1, 2, 3, 4
console = Console(highlight=False)


class EventPrinter:
    """One line per event, with the seconds since the command began."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()

    def __call__(self, event: Event) -> None:
        detail = f"  [dim]{event.detail}[/dim]" if event.detail else ""
        color = "green" if event.stage in ("ready", "stopped") else "yellow"
        elapsed_s = time.monotonic() - self._began_s
        console.print(f"[dim]{elapsed_s:6.1f} s[/dim]  {event.subject:<28} [{color}]{event.stage}[/{color}]{detail}")


def fail(message: str, code: int) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error:[/red] {message}", markup=True)
    raise typer.Exit(code)


def print_json(document: Any) -> None:
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    sys.stdout.flush()
