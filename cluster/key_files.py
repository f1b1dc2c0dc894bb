"""API keys that come in files, as a Kubernetes Secret is mounted: each file is named for a tenant and has its keys.

`python -m cluster.key_files --folder DIR --state FILE`, beside a running state or before it. Keys are only added.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from cluster.key_desk import KeyDesk, KeyDeskError, key_desk
from deployments.gateway.tenants.api_key import fingerprint, id_of
from deployments.key_administration import KeyRefused
from deployments.key_changes import CreateKey


class BadKeyFile(Exception):
    """The message names the file, and nothing of what is in it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--state", type=Path, required=True)
    where = parser.parse_args()
    try:
        with key_desk(None, where.state) as desk:
            print(f"{adopt(where.folder, desk)} new keys from {where.folder}")
    except (BadKeyFile, KeyDeskError, KeyRefused) as error:
        sys.exit(f"error: {error}")


def adopt(folder: Path, desk: KeyDesk) -> int:
    """How many were new. A key that was revoked stays so.

    Raises:
        BadKeyFile: nothing was changed.
        KeyRefused: see `KeyAdministration`.
    """
    known = {row["id"] for row in desk.listing()["keys"]}
    new = [change for change in list(_in_files(folder)) if change.key_id not in known]
    for change in new:
        desk.change(change)
    return len(new)


def _in_files(folder: Path) -> Iterator[CreateKey]:
    """A mounted Secret has hidden links beside its files."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        for number, key in enumerate(path.read_bytes().split(), start=1):
            key_id = id_of(key)
            if key_id is None:
                shape = "baryon_ and 16 hexadecimal digits, _ and 43 letters, digits, - or _"
                raise BadKeyFile(f"{path.name}: key {number} is not {shape}")
            yield CreateKey(path.name, key_id, fingerprint(key))


if __name__ == "__main__":
    main()
