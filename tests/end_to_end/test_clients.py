"""Unmodified clients get what they would get from vLLM itself, through the gateway and Ray Serve."""

import json
import subprocess
import sys
from pathlib import Path

import anthropic
import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from cluster.run_folder import store_folder
from tests.end_to_end.cluster_process import ClusterProcess
from tests.end_to_end.conftest import CHAT, EMBED, SIMULATED, TINY

pytestmark = [pytest.mark.engine, pytest.mark.cluster]
FRANCE = [{"role": "user", "content": "What is the capital of France?"}]
GREEDY = {"temperature": 0}


def test_the_default_model_answers(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=CHAT, messages=FRANCE, temperature=0, max_tokens=20)
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 3


def test_a_stream_has_the_same_text_as_the_whole_answer(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=CHAT, messages=FRANCE, temperature=0, max_tokens=20)
    chunks = list(
        client.chat.completions.create(model=CHAT, messages=FRANCE, temperature=0, max_tokens=20, stream=True)
    )
    streamed = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert streamed == whole.choices[0].message.content
    assert len(chunks) > 5


def test_usage_comes_at_the_end_of_a_stream_that_asks_for_it(client: OpenAI) -> None:
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model=CHAT, messages=FRANCE, max_tokens=5, stream=True, stream_options=options)
    )
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_forced_tool_is_called(client: OpenAI) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": schema, "strict": True}}
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "What is the weather in Paris?"}],
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "get_weather"}},
        temperature=0,
        max_tokens=60,
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].function.name == "get_weather"
    assert "city" in json.loads(calls[0].function.arguments)


def test_a_json_schema_is_satisfied(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"sentiment": {"type": "string", "enum": ["positive", "negative"]}},
        "required": ["sentiment"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=CHAT,
        messages=[{"role": "user", "content": "Is 'I love this film' positive or negative?"}],
        response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema, "strict": True}},
        temperature=0,
        max_tokens=40,
    )
    assert json.loads(answer.choices[0].message.content or "")["sentiment"] in ("positive", "negative")


def test_logprobs_n_stop_and_seed(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=CHAT, messages=FRANCE, max_tokens=4, logprobs=True, top_logprobs=3, n=2
    )
    assert len(answer.choices) == 2
    assert answer.choices[0].logprobs is not None
    assert len(answer.choices[0].logprobs.content[0].top_logprobs) == 3  # type: ignore[index]
    stopped = client.chat.completions.create(model=CHAT, messages=FRANCE, temperature=0, max_tokens=30, stop=["France"])
    assert stopped.choices[0].finish_reason == "stop"
    assert "France" not in (stopped.choices[0].message.content or "")
    seeded = [
        client.chat.completions.create(model=CHAT, messages=FRANCE, temperature=1.0, seed=7, max_tokens=8)
        for _ in range(2)
    ]
    assert seeded[0].choices[0].message.content == seeded[1].choices[0].message.content


def test_completions_on_a_tensor_parallel_model(client: OpenAI) -> None:
    answer = client.completions.create(
        model=TINY, prompt="one two three", max_tokens=12, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12


def test_embeddings(client: OpenAI) -> None:
    answer = client.embeddings.create(model=EMBED, input=["a first text", "and another"])
    assert [len(item.embedding) for item in answer.data] == [128, 128]


def test_a_model_without_embeddings_says_so(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.embeddings.create(model=CHAT, input="a text")
    assert "does not serve this route" in str(caught.value)


def test_the_responses_api_answers_and_refuses_state_on_the_server(client: OpenAI) -> None:
    answer = client.responses.create(
        model=CHAT, input="What is the capital of France?", temperature=0, max_output_tokens=20
    )
    assert "Paris" in answer.output_text
    with pytest.raises(BadRequestError) as caught:
        client.responses.create(model=CHAT, input="And of Spain?", previous_response_id=answer.id)
    assert "send the whole conversation" in str(caught.value)


def test_anthropics_client(cluster: ClusterProcess) -> None:
    claude = anthropic.Anthropic(base_url=cluster.url, api_key="none", max_retries=0)
    message = claude.messages.create(model=CHAT, max_tokens=20, messages=FRANCE, extra_body=GREEDY)  # type: ignore[arg-type]
    assert "Paris" in message.content[0].text  # type: ignore[union-attr]
    with claude.messages.stream(model=CHAT, max_tokens=20, messages=FRANCE, extra_body=GREEDY) as stream:  # type: ignore[arg-type]
        assert "Paris" in stream.get_final_text()
    with pytest.raises(anthropic.NotFoundError):
        claude.messages.create(model="nothing", max_tokens=5, messages=FRANCE)  # type: ignore[arg-type]


def test_tokenize_and_back(cluster: ClusterProcess) -> None:
    tokens = cluster.post("/tokenize", {"model": CHAT, "prompt": "hadrons and leptons"}).json()["tokens"]
    assert cluster.post("/detokenize", {"model": CHAT, "tokens": tokens}).json()["prompt"] == "hadrons and leptons"


def test_every_model_is_listed_and_a_simulated_one_is_labelled(cluster: ClusterProcess) -> None:
    models = {model["id"]: model for model in httpx.get(f"{cluster.url}/v1/models").json()["data"]}
    assert models[CHAT]["engine"] == "vllm"
    assert models[CHAT]["max_model_len"] == 2048
    assert models[SIMULATED]["engine"] == "simulated"
    assert models[SIMULATED]["ready_replicas"] == 2


def test_an_unknown_model_is_404_with_the_nearest_name(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.chat.completions.create(model="smollm2-135m-instrukt", messages=FRANCE)
    assert caught.value.code == "model_not_found"
    assert CHAT in str(caught.value)


def test_a_prompt_that_is_too_long_is_400_in_openais_shape(client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(model=TINY, prompt="word " * 3000, max_tokens=10)
    assert "1024" in str(caught.value)


def test_wrong_types_are_400(cluster: ClusterProcess) -> None:
    for body in ({"model": CHAT, "messages": "hello"}, {"model": CHAT, "messages": [], "max_tokens": "many"}):
        answer = cluster.post("/v1/chat/completions", body)
        assert answer.status_code == 400, answer.text
        assert answer.json()["error"]["message"]


def test_no_route_of_the_engine_leaks_through(cluster: ClusterProcess) -> None:
    for path in (
        "/metrics",
        "/invocations",
        "/pause",
        "/update_weights",
        "/version",
        "/openapi.json",
        "/-/load",
        "/load",
    ):
        assert httpx.get(cluster.url + path).status_code == 404
        assert httpx.post(cluster.url + path, json={}).status_code == 404


def test_curl(cluster: ClusterProcess) -> None:
    body = json.dumps({"model": CHAT, "messages": FRANCE, "temperature": 0, "max_tokens": 20})
    command = ["curl", "-sS", "-H", "Content-Type: application/json", "-d", body, f"{cluster.url}/v1/chat/completions"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "Paris" in json.loads(done.stdout)["choices"][0]["message"]["content"]


def test_vllms_own_benchmark(cluster: ClusterProcess, tmp_path: Path) -> None:
    folder = store_folder() / "bundled" / "tiny-random-llama"
    load = "--dataset-name random --random-input-len 16 --random-output-len 8 --num-prompts 8 --ignore-eos"
    where = f"--backend openai --base-url {cluster.url} --endpoint /v1/completions --model {TINY} --tokenizer {folder}"
    result = f"--save-result --result-dir {tmp_path} --result-filename result.json"
    command = [
        sys.executable,
        "-m",
        "engine.vllm_cli",
        "bench",
        "serve",
        *where.split(),
        *load.split(),
        *result.split(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads((tmp_path / "result.json").read_text())
    assert (figures["completed"], figures["failed"]) == (8, 0)
    assert figures["total_output_tokens"] == 64
    assert figures["mean_ttft_ms"] > 0


def test_the_chat_command_streams_an_answer(cluster: ClusterProcess) -> None:
    done = cluster.run("chat", "What is the capital of France?", "--max-tokens", "20")
    assert "Paris" in done.stdout, done.stderr
