"""What processes count is kept beyond their end, and counted once."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as open_metrics

from monitoring.latency_families import with_native
from monitoring.native_buckets import LOWEST
from monitoring.node_files import MANIFEST, NodeFiles
from monitoring.process_files import is_alive, write_to_files
from tests.unit.monitoring.test_native_buckets import by_definition, decoded

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
    count, *times_s = line.split()
    tokens.inc(int(count))
    for seconds in times_s or [0.004]:
        ttft.observe(float(seconds))
    print("counted", flush=True)
"""


class Counting:
    """Another process that counts what it is told."""

    def __init__(self, folder: Path, program: str = COUNTING) -> None:
        command = (sys.executable, "-c", program, str(folder))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def count(self, tokens: int, times_s: Sequence[float] = ()) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(" ".join(map(str, (tokens, *times_s))) + "\n")
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


def natives(folder: Path) -> dict[int, int]:
    """Counts of the TTFT by native bucket; `LOWEST` for those that are as good as zero."""
    (family,) = [f for f in NodeFiles(folder).in_cells() if f.name == "baryon_request_ttft_seconds"]
    (native,) = [s.native_histogram for s in with_native(family).samples if s.native_histogram is not None]
    counts = decoded(native) | {LOWEST: int(native.zero_count)}
    assert sum(counts.values()) == native.count_value == first_tokens(folder, "+Inf")
    return counts


def test_native_counts_of_several_processes_add_up_and_never_go_back(tmp_path: Path) -> None:
    random, processes, before = Random(3), [Counting(tmp_path) for _ in range(3)], {LOWEST: 0}
    observed: list[float] = []
    for turn in range(12):
        times_s = [random.lognormvariate(-1, 3) for _ in range(9)]
        observed += times_s
        processes[turn % 3].count(1, times_s)
        if turn % 4 == 3:
            processes[turn % 3].kill()
            processes[turn % 3] = Counting(tmp_path)
        now = natives(tmp_path)
        assert all(now.get(index, 0) >= count for index, count in before.items())
        before = now
    for process in processes:
        process.kill()
    zero, counts = by_definition(observed)
    assert natives(tmp_path) == natives(tmp_path) == {**counts, LOWEST: zero}


PLAIN = COUNTING.replace(
    "instruments.histogram(metrics.TTFT, None)",
    "Histogram(metrics.TTFT.name, metrics.TTFT.help, metrics.TTFT.labels, registry=None, buckets=metrics.TTFT.buckets)",
).replace("import sys", "import sys\nfrom prometheus_client import Histogram", 1)


def test_the_text_is_byte_for_byte_what_prometheus_clients_histograms_make_of_it(tmp_path: Path) -> None:
    pages = []
    for name, program in (("ours", COUNTING), ("theirs", PLAIN)):
        folder = tmp_path / name
        for times_s in ([0.004, 0.0043, 0.7, 1.0, 4_000.0], [0.00001, 59.0, 61.0], []):
            process = Counting(folder, program)
            process.count(2, times_s)
            process.kill()
            text(folder)
        last = Counting(folder, program)
        last.count(1, [0.05, 0.051])
        pages.append(text(folder))
        last.kill()
    assert pages[0] == pages[1]
    assert b'le="0.05"' in pages[0]


def text(folder: Path) -> bytes:
    registry = CollectorRegistry()
    registry.register(NodeFiles(folder))  # type: ignore[arg-type]
    return generate_latest(registry) + open_metrics(registry)


def test_counts_that_a_version_without_cells_has_left_go_on(tmp_path: Path) -> None:
    old = Counting(tmp_path, PLAIN)
    old.count(1, [0.3, 0.7])
    old.kill()
    before = natives(tmp_path)
    assert sum(before.values()) == 2
    new = Counting(tmp_path)
    new.count(1, [0.3])
    now = natives(tmp_path)
    assert all(now[index] >= count for index, count in before.items())
    assert first_tokens(tmp_path, "0.5") == 2
    new.kill()
    assert natives(tmp_path) == now


def test_who_is_alive_is_known_without_process_numbers(tmp_path: Path) -> None:
    process = Counting(tmp_path)
    process.count(1)
    (identity,) = (path.stem for path in tmp_path.glob("*.alive"))
    assert is_alive(tmp_path, identity)
    assert NodeFiles(tmp_path).has_writers()
    process.kill()
    assert not is_alive(tmp_path, identity)
    assert not NodeFiles(tmp_path).has_writers()
