"""One cluster for all end-to-end tests: two cores start a vLLM engine in half a minute, so engines are shared."""

from collections.abc import Iterator

import pytest
from openai import OpenAI

from tests.end_to_end.cluster_process import ClusterProcess, running_cluster
from tests.unit.gateway.otlp_receiver import OtlpReceiver, receiving

CHAT = "smollm2-135m-instruct"
TINY = "tiny-tp2"
EMBED = "tiny-embed"
SIMULATED = "sim"
SLEEPER = "sleeper"

MODELS = """
models:
  - name: smollm2-135m-instruct
    source: bundled:smollm2-135m-instruct
    kv_cache_gib: 0.75
    cpus_per_replica: 0.5
    engine_args: {max_model_len: 2048, enable_auto_tool_choice: true, tool_call_parser: hermes}
  - name: tiny-tp2
    source: bundled:tiny-random-llama
    tensor_parallel_size: 2
    kv_cache_gib: 0.25
    max_in_flight: 16
    cpus_per_replica: 0.5
    engine_args: {max_model_len: 1024}
  - name: tiny-embed
    source: bundled:tiny-random-llama
    kv_cache_gib: 0.25
    cpus_per_replica: 0.5
    engine_args: {max_model_len: 512, runner: pooling, convert: embed}
  - name: sim
    engine: simulated
    profile: llama-3.1-8b-h100-tp1
    cpus_per_replica: 0.1
    max_in_flight: 8
    replicas: {min: 2}
  - {name: sleeper, engine: simulated, profile: instant, cpus_per_replica: 0.1, replicas: {min: 0, max: 2}}
"""


def pytest_collection_modifyitems(items: list[pytest.Function]) -> None:
    """Tests with clusters of their own first: beside this one they would share two cores with its engines."""
    items.sort(key=shares_the_cluster)


def shares_the_cluster(item: pytest.Function) -> bool:
    return "cluster" in item.fixturenames and not hasattr(item.module, "cluster")


@pytest.fixture(scope="session")
def receiver() -> Iterator[OtlpReceiver]:
    """Of the traces of what asks for one."""
    with receiving() as started:
        yield started


@pytest.fixture(scope="session")
def cluster(receiver: OtlpReceiver) -> Iterator[ClusterProcess]:
    tracing = f"tracing: {{endpoint: '{receiver.endpoint}', sample: 0, follow_callers: true}}\n"
    with running_cluster(MODELS, always=tracing) as process:
        yield process


@pytest.fixture(scope="session")
def client(cluster: ClusterProcess) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{cluster.url}/v1", api_key="none", max_retries=0, timeout=120) as openai:
        yield openai
