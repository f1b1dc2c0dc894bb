"""`baryon backup` and `baryon restore`: all that state keeps, in one file."""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from cluster.audited import actor
from cluster.commands.output import BAD_INPUT, FAILED, console, fail
from cluster.live_state import LiveState
from cluster.run_folder import default_run_folder
from cluster.running_cluster import running_cluster
from deployments import state_backup
from deployments.state_backup import BackupError

StateOption = Annotated[
    Path | None,
    typer.Option("--state", help="The state file of a cluster that does not run, if elsewhere."),
]


def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it.")],
    state: StateOption = None,
) -> None:
    """Back up keys, usage, the autoscaler's past and the catalogue; the cluster may run.

    Not in it, so that a backup alone recognises no key: the .secret file beside the state file. Keep that too.

    Example: baryon backup /backups/baryon-$(date +%F).zip
    """
    if file.exists():
        fail(f"{file}: there is such a file already", BAD_INPUT)
    folder = default_run_folder()
    record = running_cluster(folder)
    try:
        if state is None and record is not None:
            with LiveState(record.gcs_address) as live:
                content = live.backup()
        else:
            content = state_backup.backup(state or folder.state_path)
        partial = file.with_name(file.name + ".partial")
        partial.touch(mode=0o600)
        partial.write_bytes(content)
        partial.rename(file)
    except (BackupError, OSError) as error:
        fail(str(error), FAILED)
    console.print(
        f"{file}: {len(content):,} bytes, for your eyes only; its keys need the .secret file beside the state file"
    )


def restore(
    file: Annotated[Path, typer.Argument(help="What `baryon backup` wrote.")],
    state: StateOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Even if the state there is newer.")] = False,
) -> None:
    """Put a backup back, before `baryon up`. What is there is kept under another name.

    Example: baryon restore /backups/baryon-2026-11-25.zip
    """
    folder = default_run_folder()
    if state is None and running_cluster(folder) is not None:
        fail("the cluster is running and would not see it: `baryon down` first", BAD_INPUT)
    try:
        restored = state_backup.restore(
            file.read_bytes(), state or folder.state_path, overwrite=overwrite, actor=actor()
        )
    except (BackupError, OSError) as error:
        fail(str(error) if isinstance(error, OSError) else f"{file}: {error}", FAILED)
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(restored.made_at_s))
    console.print(f"restored {', '.join(path.name for path in restored.files)} as of {made}")
    for path in restored.kept:
        console.print(f"  what was there is {path}")
    if restored.revived is None:
        console.print("  which keys were revoked since cannot be read: look through `baryon keys list`")
    for key in restored.revived or ():
        console.print(
            f"  good again, though ended since: the key {key.key_id} of {escape(key.tenant)};"
            f" `baryon keys revoke {key.key_id}` ends it",
            soft_wrap=True,
        )
