"""What processes count is kept beyond their end, and counted once."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from monitoring.node_files import MANIFEST, NodeFiles
from monitoring.process_files import is_alive, write_to_files

COUNTING = """
import sys
from pathlib import Path
from monitoring import instruments, metrics
from monitoring.process_files import write_to_files
files = write_to_files(Path(sys.argv[1]))
tokens = instruments.counter(metrics.PROMPT_TOKENS, None).labels("a-model", "a-tenant")
ttft = instruments.histogram(metrics.TTFT, None).labels("a-model", "0")
gateways = instruments.gauge(metrics.GATEWAYS, None)
gateways.set(1)
for line in sys.stdin:
    tokens.inc(int(line))
    ttft.observe(0.004)
    print("counted", flush=True)
"""


class Counting:
    """Another process that counts what it is told."""

    def __init__(self, folder: Path) -> None:
        command = (sys.executable, "-c", COUNTING, str(folder))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def count(self, tokens: int) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{tokens}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "counted\n"

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()


def value(folder: Path, name: str, labels: dict[str, str] | None = None) -> float | None:
    registry = CollectorRegistry()
    registry.register(NodeFiles(folder))  # type: ignore[arg-type]
    return registry.get_sample_value(name, labels or {})


def tokens(folder: Path) -> float | None:
    return value(folder, "baryon_prompt_tokens_total", {"model": "a-model", "tenant": "a-tenant"})


def first_tokens(folder: Path, below: str) -> float | None:
    return value(folder, "baryon_request_ttft_seconds_bucket", {"model": "a-model", "priority": "0", "le": below})


def test_a_killed_process_loses_no_count_and_leaves_no_gauge(tmp_path: Path) -> None:
    first, second = Counting(tmp_path), Counting(tmp_path)
    first.count(3)
    second.count(4)
    assert (tokens(tmp_path), value(tmp_path, "baryon_gateways")) == (7, 2)
    first.kill()
    assert (tokens(tmp_path), value(tmp_path, "baryon_gateways")) == (7, 1)
    second.count(5)
    assert (tokens(tmp_path), first_tokens(tmp_path, "0.005"), first_tokens(tmp_path, "0.002")) == (12, 3, 0)
    second.kill()
    assert (tokens(tmp_path), first_tokens(tmp_path, "+Inf")) == (12, 3)


def test_a_process_killed_while_it_made_its_files_hides_no_count(tmp_path: Path) -> None:
    process = Counting(tmp_path)
    process.count(5)
    (tmp_path / "counter_7-killed.db").touch()
    assert tokens(tmp_path) == 5
    process.kill()
    assert tokens(tmp_path) == 5


def test_files_of_the_dead_do_not_pile_up(tmp_path: Path) -> None:
    for _ in range(4):
        process = Counting(tmp_path)
        process.count(1)
        process.kill()
        tokens(tmp_path)
    assert tokens(tmp_path) == 4
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["counter_archive-4.db", "histogram_archive-4.db"]
    assert not list(tmp_path.glob("*.alive"))


@pytest.mark.parametrize("step", ["_replace_manifest", "unlink"])
def test_an_exporter_that_is_cut_off_while_it_archives_counts_all_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    process = Counting(tmp_path)
    process.count(5)
    process.kill()

    def cut_off(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        if step == "unlink":
            unlink = Path.unlink
            manifest = tmp_path / MANIFEST
            patched.setattr(
                Path, "unlink", lambda p, **_: cut_off() if manifest.exists() else unlink(p, missing_ok=True)
            )
        else:
            patched.setattr(NodeFiles, step, cut_off)
        tokens(tmp_path)
    assert tokens(tmp_path) == 5
    assert tokens(tmp_path) == 5


def test_a_full_disk_ends_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(*_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    process = Counting(tmp_path)
    process.count(5)
    process.kill()
    with monkeypatch.context() as patched:
        patched.setattr(os, "posix_fallocate", is_full)
        assert tokens(tmp_path) == 5
        with pytest.raises(OSError, match="No space left"):
            write_to_files(tmp_path)
    assert tokens(tmp_path) == 5
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["counter_archive-1.db", "histogram_archive-1.db"]


def test_who_is_alive_is_known_without_process_numbers(tmp_path: Path) -> None:
    process = Counting(tmp_path)
    process.count(1)
    (identity,) = (path.stem for path in tmp_path.glob("*.alive"))
    assert is_alive(tmp_path, identity)
    assert NodeFiles(tmp_path).has_writers()
    process.kill()
    assert not is_alive(tmp_path, identity)
    assert not NodeFiles(tmp_path).has_writers()
