"""Of an engine that nothing is known of: first of those that share the cluster, since all that comes teaches."""

import uuid

import pytest

from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT
from tests.end_to_end.test_routing import chat, explained

pytestmark = [pytest.mark.engine, pytest.mark.cluster]


def test_what_an_engine_takes_is_learned_within_some_requests(cluster: ClusterProcess) -> None:
    """A small model on two cores is far from the priors, which are those of a large one on four GPUs."""
    for _ in range(24):
        explained(cluster, chat(CHAT, f"{uuid.uuid4()} " + "hadron " * 300, stream=True, max_tokens=8))
    ratios = []
    for _ in range(9):
        _, outcome = explained(cluster, chat(CHAT, f"{uuid.uuid4()} " + "hadron " * 300, stream=True, max_tokens=8))
        ratios.append(outcome["predicted_ttft_ms"] / outcome["ttft_ms"])
    assert 0.4 < sorted(ratios)[4] < 2.5, ratios
