"""What is in git is the project's own: no link to a place on somebody's machine."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
LINK = "120000"


def test_no_link_is_committed() -> None:
    """Checked out, one takes the place of whatever was there."""
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert len(listed.splitlines()) > 100
    assert [line for line in listed.splitlines() if line.startswith(LINK)] == []
