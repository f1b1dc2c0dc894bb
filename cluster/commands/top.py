"""`baryon top`: what the console shows, in a terminal. It reads the same JSON of the admin port."""

import time
from typing import Annotated, Any
from urllib.parse import quote

import httpx
import typer
from rich.console import Group
from rich.live import Live
from rich.text import Text

from cluster.bring_up import head_of
from cluster.commands.output import BAD_INPUT, FAILED, NOT_RUNNING, OK, console, fail, print_json
from cluster.commands.top_tables import receipt, screen
from cluster.run_folder import default_run_folder

PERIOD_S = 2.0
TIMEOUT_S = 8.0
REQUESTS_READ = 50
REQUESTS_SHOWN_ONCE = 15


class NoAnswer(Exception):
    """The admin port does not answer, or refuses; the message says which and why."""


def top(
    url: Annotated[str, typer.Option(help="Of an admin port, e.g. a forwarded one. Default: this machine's.")] = "",
    once: Annotated[bool, typer.Option("--once", help="Print once, and end.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Once, for scripts.")] = False,
    request: Annotated[str, typer.Option("--request", help="Why this request took as long as it did.")] = "",
) -> None:
    """Replicas, load, caches and the latest requests with where their time went, every two seconds. Ctrl-C ends it.

    Example: baryon top --request req-4783fd0035d9c4e05406b66e
    """
    address = url or _local_url()
    with httpx.Client(base_url=address, timeout=TIMEOUT_S, trust_env=False) as client:
        try:
            if request:
                _explain(client, request, as_json=json)
            elif json:
                print_json(read_top(client))
            elif once:
                console.print(screen(read_top(client), console.width, REQUESTS_SHOWN_ONCE))
            else:
                _watch(client)
        except NoAnswer as error:
            fail(str(error), FAILED)
        except KeyboardInterrupt:
            raise typer.Exit(OK) from None


def read_top(client: httpx.Client) -> dict[str, Any]:
    """Raises:
    NoAnswer: as it says.
    """
    requests = _get(client, f"/admin/requests?limit={REQUESTS_READ}")
    return {**_get(client, "/admin/overview"), "requests": requests["requests"]}


def _watch(client: httpx.Client) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        shown: Any = Text("connecting")
        while True:
            try:
                shown = screen(read_top(client), console.width, console.height)
                live.update(shown, refresh=True)
            except NoAnswer as error:
                live.update(Group(Text(str(error), style="red"), shown), refresh=True)
            time.sleep(PERIOD_S)


def _explain(client: httpx.Client, identity: str, *, as_json: bool) -> None:
    document = _get(client, f"/admin/requests/{quote(identity, safe='')}")
    if as_json:
        print_json(document)
    else:
        console.print(receipt(document, console.width))


def _get(client: httpx.Client, path: str) -> dict[str, Any]:
    try:
        answer = client.get(path)
        document: dict[str, Any] = answer.json()
    except (httpx.HTTPError, ValueError) as error:
        raise NoAnswer(f"{client.base_url} does not answer as an admin port: {error}") from None
    if answer.is_error:
        raise NoAnswer(document.get("error", {}).get("message", f"status {answer.status_code}"))
    return document


def _local_url() -> str:
    folder = default_run_folder()
    record = folder.read()
    if record is None or head_of(record) is None:
        fail(f"no cluster is running from {folder.path}; name a --url for another machine's", NOT_RUNNING)
    if not record.admin_url:
        fail("this cluster has no admin port (gateway.admin_port is 0)", BAD_INPUT)
    return record.admin_url
