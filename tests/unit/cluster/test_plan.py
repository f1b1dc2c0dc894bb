"""Will it fit? Numbers that can be checked by hand."""

from cluster.config import ModelConfig
from cluster.plan import Memory, plan_model
from engine.memory_budget import GIB
from engine.weights.model_facts import ModelFacts

LLAMA_70B = ModelFacts(
    "LlamaForCausalLM", 80, 64, 8, 128, 8192, 128_256, 131_072, "bfloat16", 141_107_412_992, 70_553_706_496
)
SMOL = ModelFacts("LlamaForCausalLM", 30, 9, 3, 64, 576, 49_152, 8192, "float32", 538_060_032, 134_515_008)


def model(tp: int, **arguments: object) -> ModelConfig:
    return ModelConfig.model_validate(
        {"name": "m", "source": "/x", "tensor_parallel_size": tp, "engine_args": arguments}
    )


def test_70b_on_four_h100() -> None:
    plan = plan_model(model(4, max_model_len=32_768), LLAMA_70B, Memory("cuda", 80 * GIB))
    assert plan.problems == []
    assert plan.kv_bytes_per_token_per_rank == 2 * 80 * 2 * 128 * 2
    assert 450_000 < plan.kv_tokens < 480_000
    assert plan.kv_blocks * 16 == plan.kv_tokens


def test_70b_on_one_h100_does_not_fit_and_says_what_helps() -> None:
    plan = plan_model(model(1, max_model_len=4096), LLAMA_70B, Memory("cuda", 80 * GIB))
    assert "raise tensor_parallel_size" in plan.problems[0]


def test_a_degree_that_does_not_divide_the_heads_is_refused_with_those_that_do() -> None:
    plan = plan_model(model(2, max_model_len=1024), SMOL, Memory("cpu", 16 * GIB))
    assert "valid: 1, 3, 9" in plan.problems[0]


def test_a_cpu_engine_computes_in_float32() -> None:
    plan = plan_model(model(1, max_model_len=4096), SMOL, Memory("cpu", 16 * GIB))
    assert plan.dtype == "float32"
    assert plan.kv_bytes_per_token_per_rank == 2 * 30 * 3 * 64 * 4
    assert plan.kv_cache_bytes_per_rank == 4 * GIB


def test_a_context_longer_than_the_cache_is_told() -> None:
    plan = plan_model(model(4, max_model_len=1_000_000), LLAMA_70B, Memory("cuda", 80 * GIB))
    assert "max_model_len to at most" in plan.problems[0]


def test_heads_are_replicated_beyond_the_number_of_kv_heads() -> None:
    assert LLAMA_70B.kv_bytes_per_token(2, 16) == LLAMA_70B.kv_bytes_per_token(2, 8)
    assert LLAMA_70B.valid_tensor_parallel_sizes() == [1, 2, 4, 8, 16, 32, 64]
