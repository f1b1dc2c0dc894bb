"""Real vLLM over several nodes: workers on two raylets answer as one process does, and a lost node ends them all."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cluster.run_folder import store_folder
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
from tests.end_to_end.spanning_nodes import PROMPT, TOKENS

pytestmark = [pytest.mark.engine, pytest.mark.cluster]
TINY = "tiny-random-llama"


def spanning(folder: Path, tp: int, pp: int, model: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.end_to_end.spanning_nodes", str(folder), str(tp), str(pp), model]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def one_process_answer(model: str) -> str:
    """By transformers, at temperature 0."""
    folder = ModelStore(store_folder()).materialise(parse_source(f"bundled:{model}"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    network = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = tokenizer(PROMPT, return_tensors="pt").input_ids
    made = network.generate(ids, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False)
    return str(tokenizer.decode(made[0, ids.shape[1] :]))


def test_tensor_parallel_workers_on_two_nodes(tmp_path: Path) -> None:
    result = spanning(tmp_path, tp=2, pp=1, model=TINY)
    assert result["text"] == one_process_answer(TINY)
    assert any("Worker_TP0" in title for title in result["leader"])
    assert any("Worker_TP1" in title for title in result["follower"])
    assert not any("Worker_TP1" in title for title in result["leader"])
    assert result["left"] == []
    assert result["cause"] == "node_lost"


@pytest.mark.verify
def test_pipeline_stages_on_two_nodes(tmp_path: Path) -> None:
    result = spanning(tmp_path, tp=1, pp=2, model="smollm2-135m-instruct")
    assert result["text"] == one_process_answer("smollm2-135m-instruct")
    assert any("Worker_PP0" in title for title in result["leader"])
    assert any("Worker_PP1" in title for title in result["follower"])
    assert result["left"] == []
    assert result["cause"] == "node_lost"
