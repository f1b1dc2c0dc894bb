"""The examples of docs/privacy.md, as they stand there, with keys, on the real default model."""

import json
import re
import shlex
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.end_to_end.cluster_process import ClusterProcess, running_cluster
from tests.end_to_end.curl_examples import Example, block, examples

pytestmark = [pytest.mark.engine, pytest.mark.cluster]
MODELS = """
models:
  - name: smollm2-135m-instruct
    source: bundled:smollm2-135m-instruct
    kv_cache_gib: 0.5
    cpus_per_replica: 0.5
    engine_args: {max_model_len: 1024}
"""
HOLDS_WITHIN_S = 30
ADDRESS = re.compile(r"[\w.]+@example\.\w+")
EXAMPLES = examples("privacy.md")


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterProcess]:
    with running_cluster(MODELS) as process:
        yield process


@pytest.fixture(scope="module")
def key(cluster: ClusterProcess) -> str:
    """By the first of the commands in the docs."""
    done = cluster.run(*commands()[0], "--json")
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout)["key"])


def commands() -> list[list[str]]:
    lines = block("privacy.md", "baryon keys create").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines]


def ask(cluster: ClusterProcess, key: str, example: Example) -> httpx.Response:
    assert example.with_key
    headers = {"authorization": f"Bearer {key}"}
    answer = httpx.post(cluster.url + example.path, json=example.body, headers=headers, timeout=120)
    assert answer.status_code == 200, answer.text
    assert answer.headers["x-baryon-redacted"] == "EMAIL=2"
    return answer


def addresses_in(text: str) -> set[str]:
    return set(ADDRESS.findall(text))


def test_the_page_has_examples_of_a_chat_and_of_a_recipe() -> None:
    assert {example.path for example in EXAMPLES} == {"/v1/chat/completions", "/v1/recipes/classify"}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.path)
def test_an_example_is_answered_with_the_data_in_it_again(cluster: ClusterProcess, key: str, example: Example) -> None:
    answer = ask(cluster, key, example).text
    assert addresses_in(answer)
    assert addresses_in(answer) <= addresses_in(str(example.body))
    assert "<EMAIL_" not in answer


def test_without_restoring_the_client_sees_what_the_engine_saw(cluster: ClusterProcess, key: str) -> None:
    """By the second of the commands, which holds within two seconds."""
    changed = cluster.run(*commands()[1])
    assert changed.returncode == 0, changed.stderr
    deadline_s = time.monotonic() + HOLDS_WITHIN_S
    for example in EXAMPLES:
        while addresses_in(answer := ask(cluster, key, example).text):
            assert time.monotonic() < deadline_s
        assert "<EMAIL_" in answer
