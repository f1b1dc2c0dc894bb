"""Writes docs/sizing.md: what `baryon plan` says of well-known models on each kind of GPU.

Dimensions are those of each model's published config.json; a model of one's own goes through `baryon plan` itself.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from cluster.commands.plan import GPU_GIB
from cluster.config import ModelConfig
from cluster.placement import CPUS_BESIDE_GPUS
from cluster.plan import GPU_UTILISATION, Memory, ModelPlan, plan_model
from engine.memory_budget import GIB
from engine.weights.model_facts import ModelFacts, read_model_facts

PATH = Path(__file__).resolve().parents[1] / "docs" / "sizing.md"
LARGEST_POD_GPUS = 8
CONTEXT_TOKENS = 8192
SEQUENCES = 8
QWEN3 = {"architectures": ["Qwen3ForCausalLM"], "head_dim": 128, "vocab_size": 151936, "num_key_value_heads": 8}
LLAMA3 = {"architectures": ["LlamaForCausalLM"], "head_dim": 128, "vocab_size": 128256, "num_key_value_heads": 8}


def _decoder(family: dict[str, Any], hidden: int, layers: int, heads: int, width: int, **more: Any) -> dict[str, Any]:
    sizes = {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    positions = 40960 if family is QWEN3 else 131072
    return {
        **family,
        **sizes,
        "intermediate_size": width,
        "max_position_embeddings": positions,
        "dtype": "bfloat16",
        **more,
    }


MODELS: dict[str, dict[str, Any]] = {
    "Qwen/Qwen3-0.6B": _decoder(QWEN3, 1024, 28, 16, 3072, tie_word_embeddings=True),
    "Qwen/Qwen3-4B": _decoder(QWEN3, 2560, 36, 32, 9728, tie_word_embeddings=True),
    "Qwen/Qwen3-8B": _decoder(QWEN3, 4096, 36, 32, 12288),
    "meta-llama/Llama-3.1-8B-Instruct": _decoder(LLAMA3, 4096, 32, 32, 14336),
    "Qwen/Qwen3-14B": _decoder(QWEN3, 5120, 40, 40, 17408),
    "Qwen/Qwen3-30B-A3B": _decoder(
        QWEN3, 2048, 48, 32, 6144, num_key_value_heads=4, num_experts=128, moe_intermediate_size=768
    ),
    "Qwen/Qwen3-32B": _decoder(QWEN3, 5120, 64, 64, 25600),
    "meta-llama/Llama-3.3-70B-Instruct": _decoder(LLAMA3, 8192, 80, 64, 28672),
}
HEAD = f"""# Sizing

What `baryon plan` says, written by `python -m scripts.sizing`: the smallest `tensor_parallel_size` of one pod of up to
{LARGEST_POD_GPUS} GPUs that has room for {SEQUENCES} sequences of {CONTEXT_TOKENS:,} tokens, and how many tokens its KV
cache holds. bfloat16, {GPU_UTILISATION:.0%} of each GPU's memory, KV cache of the model's precision. It is arithmetic:
none of these was run. For your model, context and quantization: `baryon plan baryon.yaml --nodes 1x8 --gpu h100`.

"""


def main() -> None:
    PATH.write_text(table())


def table() -> str:
    """Columns are kinds of GPUs by what they have."""
    kinds: dict[int, list[str]] = {}
    for name, gib in GPU_GIB.items():
        kinds.setdefault(gib, []).append(name)
    header = ["model", "weights", *(f"{', '.join(names)} ({gib} GiB)" for gib, names in sorted(kinds.items()))]
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for name, config in MODELS.items():
        facts = facts_of(config)
        cells = [_cell(name, facts, gib) for gib in sorted(kinds)]
        lines.append(f"| {name} | {facts.weights_bytes / GIB:.1f} GiB | " + " | ".join(cells) + " |")
    return HEAD + "\n".join(lines) + "\n" + _pods()


def facts_of(config: dict[str, Any]) -> ModelFacts:
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        return read_model_facts(Path(folder))


def smallest(name: str, facts: ModelFacts, gpu_gib: int) -> ModelPlan | None:
    for degree in facts.valid_tensor_parallel_sizes(LARGEST_POD_GPUS):
        model = ModelConfig.model_validate(
            {
                "name": name,
                "source": f"hf:{name}@main",
                "tensor_parallel_size": degree,
                "engine_args": {"max_model_len": CONTEXT_TOKENS},
            }
        )
        plan = plan_model(model, facts, Memory("cuda", gpu_gib * GIB))
        if not plan.problems and plan.full_length_sequences >= SEQUENCES:
            return plan
    return None


def _cell(name: str, facts: ModelFacts, gpu_gib: int) -> str:
    plan = smallest(name, facts, gpu_gib)
    if plan is None:
        return "more than one pod"
    return f"{plan.tensor_parallel_size}: {plan.kv_tokens / 1000:,.0f} k"


def _pods() -> str:
    return f"""
A pod of a group has as many GPUs as its replicas need together: `gpus: 8` holds two of `tensor_parallel_size: 4`.
Ray places a replica where it finds {CPUS_BESIDE_GPUS:g} CPUs beside its GPUs (`cpus_per_replica`). Rules of thumb for
the rest, not measured: memory for weights of each replica once, 16 GiB more for each, and `shmSize`; for `modelCache`
the weights of every model that the group may run, and a fifth more.
"""


if __name__ == "__main__":
    main()
