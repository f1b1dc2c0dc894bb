"""Rollouts of a real engine: the old version answers until the new one has generated, and goes on if that never does.

A long check with a cluster of its own: on two cores an engine that starts beside others takes minutes.
"""

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.run_folder import store_folder
from tests.end_to_end.cluster_process import ClusterProcess, running_cluster

pytestmark = pytest.mark.verify
APPLY_TIMEOUT_S = 500
MODEL = """
models:
  - name: tiny
    source: SOURCE
    kv_cache_gib: 0.25
    cpus_per_replica: 0.5
    engine_args: {max_model_len: LENGTH}
"""


def yaml(source: str = "bundled:tiny-random-llama", max_model_len: int = 512) -> str:
    return MODEL.replace("SOURCE", source).replace("LENGTH", str(max_model_len))


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterProcess]:
    with running_cluster(yaml()) as process:
        yield process


class Asking:
    """Somebody asks twice a second; `outcomes` by status."""

    def __init__(self, cluster: ClusterProcess) -> None:
        self._cluster = cluster
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.outcomes: Counter[int] = Counter()

    def __enter__(self) -> "Asking":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _ask(self) -> None:
        body = {"model": "tiny", "prompt": "one two", "max_tokens": 2}
        while not self._ended.wait(0.5):
            self.outcomes[self._cluster.post("/v1/completions", body).status_code] += 1


def apply(cluster: ClusterProcess, text: str) -> tuple[int, str, Counter[int]]:
    """Exit code, what it said on stderr, and what who asked meanwhile was answered."""
    with Asking(cluster) as asking:
        done = cluster.run("apply", str(cluster.write_config(text)), timeout_s=APPLY_TIMEOUT_S)
        time.sleep(2)
    return done.returncode, done.stderr, asking.outcomes


def cut_short(folder: Path) -> str:
    """The same weights, of which a part is missing."""
    folder.mkdir()
    for path in (store_folder() / "bundled" / "tiny-random-llama").iterdir():
        (folder / path.name).write_bytes(path.read_bytes()[: 100_000 if path.suffix == ".safetensors" else None])
    return str(folder)


def test_weights_that_are_cut_short_leave_the_old_version_serving(cluster: ClusterProcess) -> None:
    before = cluster.replicas("tiny")
    code, said, outcomes = apply(cluster, yaml(source=cut_short(cluster.folder / "cut-short")))
    assert code == 1
    assert "tiny: bad_weights" in said, said
    assert "The old version of tiny goes on serving." in said
    assert set(outcomes) == {200}, outcomes
    assert cluster.replicas("tiny") == before


def test_a_new_version_takes_over_without_an_error(cluster: ClusterProcess) -> None:
    before = cluster.replicas("tiny")
    code, said, outcomes = apply(cluster, yaml(max_model_len=256))
    assert code == 0, said
    assert set(outcomes) == {200}, outcomes
    assert before.keys().isdisjoint(cluster.replicas("tiny"))
    too_long = {"model": "tiny", "prompt": [1] * 300, "max_tokens": 2}
    assert cluster.post("/v1/completions", too_long).status_code == 400
