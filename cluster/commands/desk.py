"""How `baryon keys` and `baryon audit` reach the keys, and say what goes wrong."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cluster.commands.key_words import KeyWordError
from cluster.commands.output import BAD_INPUT, FAILED, fail
from cluster.commands.up import read_config
from cluster.key_desk import KeyDesk, KeyDeskError, key_desk
from cluster.run_folder import default_run_folder
from cluster.running_cluster import running_cluster
from deployments.key_administration import KeyRefused

Json = Annotated[bool, typer.Option("--json", help="For scripts.")]
Config = Annotated[
    Path | None, typer.Option("--config", help="While no cluster runs: the file that names another state.path.")
]


@contextmanager
def desk_of(config: Path | None) -> Iterator[KeyDesk]:
    """Exits with `BAD_INPUT` if what is asked for cannot be, and with `FAILED` if there is nobody to ask."""
    folder = default_run_folder()
    record = running_cluster(folder)
    running = record.gcs_address if record is not None else None
    state_path = read_config(config)[0].state.path if config is not None else None
    try:
        with key_desk(running, state_path or folder.state_path) as desk:
            yield desk
    except KeyRefused as error:
        fail(str(error), BAD_INPUT)
    except KeyDeskError as error:
        fail(str(error), FAILED)


@contextmanager
def understood() -> Iterator[None]:
    """Exits with `BAD_INPUT` if it is not."""
    try:
        yield
    except KeyWordError as error:
        fail(str(error), BAD_INPUT)
