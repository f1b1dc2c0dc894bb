"""A download tells how far it is."""

import time
from pathlib import Path

from engine.weights.growth import watched
from engine.weights.progress import Progress


def test_what_is_on_the_disk_is_told_while_it_grows(tmp_path: Path) -> None:
    seen: list[Progress] = []
    with watched(tmp_path, "a model", 200_000_000, seen.append):
        (tmp_path / "part").mkdir()
        (tmp_path / "part" / "weights.incomplete").write_bytes(b"x" * 3_000_000)
        deadline_s = time.monotonic() + 10
        while not any(progress.done_bytes == 3_000_000 for progress in seen):
            assert time.monotonic() < deadline_s
            time.sleep(0.05)
    assert seen[0] == Progress("download", "a model", 0, 200_000_000)
    assert seen[-1].note == "a model: 3 of 200 MB"
