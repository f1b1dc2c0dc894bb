"""`python -m tests.benchmarks.vllm_page FILE`: the metrics that this vLLM has, made by its own logger alone."""

import sys
from pathlib import Path

from prometheus_client import REGISTRY, generate_latest
from vllm.engine.arg_utils import EngineArgs
from vllm.v1.metrics.loggers import PrometheusStatLogger

from cluster.run_folder import store_folder
from engine.weights.source import parse_source
from engine.weights.store import ModelStore


def vllm_page() -> bytes:
    model = ModelStore(store_folder()).materialise(parse_source("bundled:tiny-random-llama"))
    arguments = EngineArgs(model=str(model), served_model_name="llama-3.1-8b-instruct")
    PrometheusStatLogger(arguments.create_engine_config())
    return generate_latest(REGISTRY)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(vllm_page())
