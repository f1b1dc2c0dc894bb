"""The same on real engines: weights that are cut short replace nothing.

A long check: on two cores an engine that starts beside three that are asked all the time takes minutes.
"""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from cluster.run_folder import store_folder
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import MODELS, TINY

pytestmark = pytest.mark.verify


def test_weights_that_are_cut_short_leave_the_old_version_serving(cluster: ClusterProcess) -> None:
    good = store_folder() / "bundled" / "tiny-random-llama"
    broken = cluster.folder / "cut-short"
    broken.mkdir()
    for path in good.iterdir():
        (broken / path.name).write_bytes(path.read_bytes()[: 100_000 if path.suffix == ".safetensors" else None])
    before = cluster.replicas(TINY)
    text = MODELS.replace("source: bundled:tiny-random-llama", f"source: {broken}", 1)
    body = {"model": TINY, "prompt": "one two", "max_tokens": 2}
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(cluster.run, "apply", str(cluster.write_config(text)), timeout_s=500)
        statuses = set()
        while not applying.done():
            statuses.add(cluster.post("/v1/completions", body).status_code)
            time.sleep(0.3)
    done = applying.result()
    assert done.returncode == 1
    assert f"{TINY}: bad_weights" in done.stderr, done.stderr
    assert f"The old version of {TINY} goes on serving." in done.stderr
    assert statuses == {200}
    assert cluster.replicas(TINY) == before
    assert cluster.run("apply", str(cluster.write_config(MODELS))).returncode == 0
    assert cluster.replicas(TINY) == before
