"""`python -m cluster.bench.ray_serve_llm PORT MODEL_FOLDER NAME`: Ray Serve LLM with its defaults, to compare with.

A process and a Ray cluster of its own. Prints `ready` once it answers, and ends with its standard input.
"""

import sys
from typing import Any

CPUS_OFFERED = 8


def main(port: int, folder: str, name: str) -> None:
    import ray
    from ray import serve
    from ray.serve.llm import LLMConfig, build_openai_app

    ray.init(num_cpus=CPUS_OFFERED, include_dashboard=False, log_to_driver=False)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        config: Any = LLMConfig(
            model_loading_config={"model_id": name, "model_source": folder},
            accelerator_config={"kind": "cpu"},
            engine_kwargs={
                "max_model_len": 2048,
                "dtype": "float32",
                "enforce_eager": True,
                "kv_cache_memory_bytes": 2**29,
                "disable_log_stats": False,
            },
            deployment_config={"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.5}},
        )
        serve.run(build_openai_app({"llm_configs": [config]}))
        print("ready", flush=True)
        sys.stdin.read()
    finally:
        serve.shutdown()
        ray.shutdown()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
