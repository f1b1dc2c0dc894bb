"""Which `engine_args` vLLM understands, known without importing vLLM.

`vllm_flags.json` is a snapshot of the pinned version's own parser; a contract test compares the two.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

OWNED = {
    "model": "source",
    "served_model_name": "name",
    "tensor_parallel_size": "tensor_parallel_size, beside engine_args",
    "pipeline_parallel_size": "pipeline_parallel_size, beside engine_args",
    "data_parallel_size": "replicas, which are routed by load",
    "data_parallel_rank": "replicas, which are routed by load",
    "api_server_count": "the replica itself (one server; raise replicas.min instead)",
    "host": "the replica itself",
    "port": "the replica itself",
    "uds": "the replica itself",
    "middleware": "the replica itself",
    "api_key": "the gateway (the engine is not reachable without it)",
    "root_path": "the gateway",
    "headless": "the replica itself",
    "nnodes": "placement",
    "node_rank": "placement",
    "master_addr": "placement",
    "master_port": "placement",
    "distributed_executor_backend": "placement",
    "config": "baryon.yaml",
    "ssl_keyfile": "the gateway",
    "ssl_certfile": "the gateway",
}
REFUSED = {
    "trust_remote_code": "it runs code that comes with the model",
    "allow_credentials": "browsers reach the gateway, never the engine",
    "enable_prompt_embeds": "requests could carry serialised tensors (CVE-2025-62164)",
    "trust_request_chat_template": "requests could carry templates that run in the engine (CVE-2026-115911)",
    "trust_request_mm_kwargs": "requests could choose processor arguments (CVE-2026-105758)",
    "grpc": "the gateway speaks HTTP to the engine",
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One vLLM flag: `--name VALUE`, or a switch when `boolean`, with a `--no-` form when `negatable`."""

    flag: str
    boolean: bool
    negatable: bool
    choices: tuple[str, ...] | None


@cache
def _snapshot() -> Mapping[str, Any]:
    snapshot: dict[str, Any] = json.loads(files("engine").joinpath("vllm_flags.json").read_text())
    return snapshot


def snapshot_version() -> str:
    """The vLLM version that the flags were read from, and that Baryon is tested with."""
    return str(_snapshot()["version"])


@cache
def known_flags() -> Mapping[str, Flag]:
    return {
        name: Flag(
            entry["flag"], entry["boolean"], entry["negatable"], tuple(entry["choices"]) if entry["choices"] else None
        )
        for name, entry in _snapshot()["flags"].items()
    }


def problem_with(name: str, value: Any) -> str | None:
    """What is wrong with this engine argument, in a sentence that names the nearest valid one; None if nothing is.

    Null is right for every argument: it takes our default away, and vLLM's own holds.
    """
    if name in OWNED:
        return f"is set by {OWNED[name]}, not in engine_args"
    if name in REFUSED:
        return f"is refused: {REFUSED[name]}"
    flag = known_flags().get(name)
    if flag is None:
        near = difflib.get_close_matches(name.replace("-", "_"), known_flags(), n=1)
        return "is no vLLM argument" + (f"; did you mean {near[0]}?" if near else "")
    if value is None:
        return None
    if flag.boolean and not isinstance(value, bool):
        return f"expects true or false, got {value!r}"
    if flag.choices and not isinstance(value, list) and str(value) not in flag.choices:
        return f"expects one of {', '.join(flag.choices)}; got {value!r}"
    if any(str(item).startswith("--") for item in (value if isinstance(value, list) else [value])):
        return f"would be read as another argument; got {value!r}"
    return None


def command_line(name: str, value: Any) -> tuple[str, ...]:
    """The argument vector for one known engine argument; empty for null and for a switch that is off."""
    flag = known_flags()[name]
    if value is None:
        return ()
    if flag.boolean:
        off = (flag.flag.replace("--", "--no-", 1),) if flag.negatable else ()
        return (flag.flag,) if value else off
    if isinstance(value, list):
        return (flag.flag, *map(str, value))
    if isinstance(value, dict):
        return (flag.flag, json.dumps(value))
    return (flag.flag, str(value))
