"""The sizing table is what `baryon plan` says today, of models of the sizes that they are published with."""

import pytest

from scripts.sizing import MODELS, PATH, facts_of, smallest, table

BILLIONS = {
    "Qwen/Qwen3-0.6B": 0.6,
    "Qwen/Qwen3-4B": 4.0,
    "Qwen/Qwen3-8B": 8.2,
    "meta-llama/Llama-3.1-8B-Instruct": 8.0,
    "Qwen/Qwen3-14B": 14.8,
    "Qwen/Qwen3-30B-A3B": 30.5,
    "Qwen/Qwen3-32B": 32.8,
    "meta-llama/Llama-3.3-70B-Instruct": 70.6,
}


def test_the_table_is_up_to_date() -> None:
    assert PATH.read_text() == table(), "run python -m scripts.sizing"


@pytest.mark.parametrize("model", MODELS)
def test_a_model_has_the_parameters_that_its_card_says(model: str) -> None:
    assert round(facts_of(MODELS[model]).parameters / 1e9, 1) == BILLIONS[model]


def test_a_larger_gpu_needs_no_more_of_them() -> None:
    for name, config in MODELS.items():
        plans = [smallest(name, facts_of(config), gib) for gib in (80, 141, 180)]
        degrees = [plan.tensor_parallel_size for plan in plans if plan]
        assert degrees == sorted(degrees, reverse=True)
        assert len(degrees) == 3
