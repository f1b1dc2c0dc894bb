"""`baryon up`, `baryon down` and `baryon apply`: a cluster on this machine comes, changes and goes."""

import os
import signal
import subprocess
import sys
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from cluster.apply import DoesNotFit, apply_config
from cluster.bring_up import (
    BringUpError,
    check_before_start,
    end_cluster,
    head_of,
    running_cluster,
    wait_until_serving,
)
from cluster.commands.output import BAD_INPUT, DOES_NOT_FIT, FAILED, NOT_RUNNING, EventPrinter, console, fail
from cluster.config import BaryonConfig
from cluster.config_file import ConfigError, load_config
from cluster.exposure import NobodyMayCall
from cluster.key_desk import KeyDeskError, keys_exist_in
from cluster.kuberay import belongs_to_kuberay
from cluster.ray_head import RayStartError
from cluster.run_folder import RunFolder, RunRecord, default_run_folder
from cluster.serve_api import ServeApiError

ConfigArgument = Annotated[Path | None, typer.Argument(help="The configuration; without it, the small default model.")]
HEAD_POLL_S = 1.0
DETACHED = "BARYON_DETACHED"


def read_config(path: Path | None) -> tuple[BaryonConfig, str]:
    """The configuration, and the name of its file; exits with `BAD_INPUT` if it is not valid."""
    file = path or Path(str(files("cluster").joinpath("default.yaml")))
    try:
        return load_config(file), str(file)
    except ConfigError as error:
        fail(str(error), BAD_INPUT)


def up(
    config: ConfigArgument = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once it serves; end it with `baryon down`.")
    ] = False,
) -> None:
    """Start a cluster on this machine and serve. Ctrl-C ends everything.

    Example: baryon up baryon.yaml
    """
    settings, name = read_config(config)
    folder = default_run_folder()
    try:
        check_before_start(settings, folder)
    except BringUpError as error:
        fail(str(error), DOES_NOT_FIT)
    except (NobodyMayCall, KeyDeskError) as error:
        fail(str(error), BAD_INPUT)
    if detach:
        _up_detached(settings, folder, name)
        return
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: _interrupted(stop))
    _up_in_foreground(settings, folder, name, stop)


def _interrupted(stop: threading.Event) -> None:
    if stop.is_set():
        return
    stop.set()
    raise KeyboardInterrupt


def _up_in_foreground(settings: BaryonConfig, folder: RunFolder, name: str, stop: threading.Event) -> None:
    printer = EventPrinter()
    try:
        with running_cluster(settings, folder, name, printer) as record:
            longest_s = max((model.start_timeout_s for model in settings.models), default=60.0) + 60
            wait_until_serving(record, printer, longest_s)
            _greet(settings, record, has_keys=keys_exist_in(settings.state.path or folder.state_path))
            while head_of(record) is not None:
                time.sleep(HEAD_POLL_S)
            fail("Ray's head process is gone; see the log in " + str(folder.ray_folder), FAILED)
    except (BringUpError, RayStartError, ServeApiError) as error:
        fail(str(error), FAILED)
    except KeyboardInterrupt:
        return


def _up_detached(settings: BaryonConfig, folder: RunFolder, name: str) -> None:
    """The same command in a session of its own, followed until it serves."""
    log = folder.path / "up.log"
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "cluster.cli", "up", name],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    shown = 0
    while True:
        text = log.read_text()
        sys.stdout.write(text[shown:])
        sys.stdout.flush()
        shown = len(text)
        if "Ctrl-C ends it" in text:
            return
        if child.poll() is not None:
            raise typer.Exit(child.returncode or FAILED)
        time.sleep(HEAD_POLL_S / 4)


def down() -> None:
    """End the cluster that `baryon up` started: drain, stop, and check that no process is left.

    Example: baryon down
    """
    folder = default_run_folder()
    record = folder.read()
    if record is None or head_of(record) is None:
        folder.clear()
        fail(f"no cluster is running from {folder.path}", NOT_RUNNING)
    left = end_cluster(folder, EventPrinter())
    if left:
        fail("could not end " + ", ".join(f"{m.title} (pid {m.pid})" for m in left), FAILED)


def apply(config: Annotated[Path, typer.Argument(help="The new configuration.")]) -> None:
    """Make the running cluster match a file. SLOs, counts and other models change without touching a running engine.

    What needs a new engine replaces replica by replica; the old version stays if the new one does not start.

    Example: baryon apply baryon.yaml
    """
    if belongs_to_kuberay():
        fail(
            "this cluster belongs to KubeRay: the chart's serveConfigV2 is what it runs, and would undo this change. "
            "Change the chart's values and run `helm upgrade`.",
            BAD_INPUT,
        )
    settings, name = read_config(config)
    folder = default_run_folder()
    record = folder.read()
    if record is None or head_of(record) is None:
        fail(f"no cluster is running from {folder.path}; start one with `baryon up {name}`", NOT_RUNNING)
    try:
        apply_config(settings, folder, record, EventPrinter())
    except DoesNotFit as error:
        fail(str(error), DOES_NOT_FIT)
    except NobodyMayCall as error:
        fail(str(error), BAD_INPUT)
    except (BringUpError, ServeApiError) as error:
        fail(str(error), FAILED)


def _greet(settings: BaryonConfig, record: RunRecord, *, has_keys: bool) -> None:
    model = settings.models[0].name if settings.models else "MODEL"
    url = record.gateway_url
    console.print(f"\n[bold green]Serving at {url}/v1[/bold green]   Ray dashboard: {record.dashboard_url}")
    console.print(f"Console: {record.admin_url}\n" if record.admin_url else "")
    header, key, imports = "", '"none"', ""
    if has_keys:
        header, imports = """-H "Authorization: Bearer $BARYON_API_KEY" """, "import os\n\n"
        key = 'os.environ["BARYON_API_KEY"]'
    sys.stdout.write(
        f"""curl -s {url}/v1/chat/completions {header}-H 'Content-Type: application/json' -d '{{
  "model": "{model}", "messages": [{{"role": "user", "content": "What is the capital of France?"}}], "temperature": 0}}'

{imports}from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key={key})
answer = client.chat.completions.create(
    model="{model}", messages=[{{"role": "user", "content": "What is the capital of France?"}}], temperature=0)
print(answer.choices[0].message.content)

Ctrl-C ends it.
"""
    )
    sys.stdout.flush()
