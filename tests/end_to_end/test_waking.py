"""A model at zero costs nothing, is listed all the same, and answers whoever asks for it."""

import time

import pytest
from openai import OpenAI

from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import SLEEPER
from tests.end_to_end.test_lifecycle import wait_for

pytestmark = [pytest.mark.engine, pytest.mark.cluster]


def test_a_request_wakes_a_model_that_has_no_replica_and_is_answered(cluster: ClusterProcess, client: OpenAI) -> None:
    assert SLEEPER in {model.id for model in client.models.list()}
    assert not cluster.replicas(SLEEPER)
    began_s = time.monotonic()
    stream = client.completions.create(model=SLEEPER, prompt="wake up", max_tokens=5, stream=True)
    words = [chunk.choices[0].text for chunk in stream if chunk.choices]
    assert len([word for word in words if word]) == 5
    assert time.monotonic() - began_s < 60
    assert len(cluster.replicas(SLEEPER)) == 1


def test_status_tells_why_it_was_woken(cluster: ClusterProcess) -> None:
    done = cluster.run("status", "--why")
    assert done.returncode == 0, done.stderr
    assert "0 → 1" in done.stdout
    assert "a request waits" in done.stdout
    wait_for(lambda: bool(cluster.live.decisions(SLEEPER, 1, changes_only=False)), 20, "the next decision is kept")
    change = cluster.live.decisions(SLEEPER, 1, changes_only=True)[0]
    assert (change["was"], change["granted"]) == (0, 1)
