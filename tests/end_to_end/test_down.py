"""`baryon down` while clients stream: they are served to their end, and what they used is in the ledger."""

import signal

import pytest

from deployments.usage_ledger import LEDGER, UsageQuery, read_sums
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.streams import Streams

pytestmark = pytest.mark.cluster
MODELS = """
models:
  - {name: sim, engine: simulated, profile: llama-3.1-70b-h100-tp4, cpus_per_replica: 0.2}
"""
TOKENS = 300


def test_streams_end_whole_and_are_counted_and_no_process_is_left() -> None:
    cluster = ClusterProcess(MODELS)
    try:
        cluster.start()
        tree = cluster.tree()
        with Streams(cluster.url, "sim", {}, tokens=TOKENS, clients=4, at_most=1) as streams:
            while streams.tokens < 4:
                assert not streams.failures
            ended = cluster.run("down")
        assert (ended.returncode, streams.whole, streams.failures) == (0, 4, {})
        assert "no process left" in ended.stdout
        assert not cluster.left_of(tree)
        rows = read_sums(cluster.folder / "run" / LEDGER, UsageQuery(model="sim", by=("model",)))
        assert [(row["completed"], row["output_tokens"]) for row in rows] == [(4, 4 * TOKENS)]
    finally:
        cluster.remove()


def test_a_command_that_is_terminated_ends_its_cluster_as_it_would_by_ctrl_c() -> None:
    cluster = ClusterProcess(MODELS)
    try:
        cluster.start()
        tree = cluster.tree()
        cluster.process.send_signal(signal.SIGTERM)
        cluster.process.wait(120)
        assert not cluster.left_of(tree)
    finally:
        cluster.remove()
