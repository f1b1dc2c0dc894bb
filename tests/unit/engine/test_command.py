"""The command line that vLLM gets, and what of an operator's engine_args is let through."""

from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.arguments import command_line, known_flags, problem_with
from engine.cpu import thread_binding
from engine.launch import TOKEN_VARIABLE, EngineLaunch, Rank
from engine.memory_budget import (
    GIB,
    LARGEST_DEFAULT_BYTES,
    NotEnoughMemory,
    available_memory_bytes,
    kv_cache_bytes,
)
from engine.vllm_command import vllm_command


def launch(**more: object) -> EngineLaunch:
    base = {
        "model": "m",
        "model_path": Path("/w"),
        "device": "cpu",
        "host": "127.0.0.1",
        "port": 9,
        "internal_token": "s3cret",
    }
    return EngineLaunch(**{**base, **more})  # type: ignore[arg-type]


def words(command: tuple[str, ...], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_the_token_is_in_the_environment_and_nowhere_else() -> None:
    command = vllm_command(launch(), (0, 1))
    assert command.env[TOKEN_VARIABLE] == "s3cret"
    assert "s3cret" not in " ".join(command.argv)
    assert "s3cret" not in repr(command) + repr(launch())


def test_the_guard_stands_in_front_and_requests_are_bounded() -> None:
    argv = vllm_command(launch(max_in_flight=7), (0,)).argv
    assert words(argv, "--middleware") == "engine.guard.RouteGuard"
    assert words(argv, "--max-num-queued-reqs") == "7"
    assert words(argv, "--served-model-name") == "m"


def test_an_engine_joins_traces_where_it_is_told_to() -> None:
    command = vllm_command(launch(model="org/m", trace_endpoint="http://c:4318/v1/traces"), (0,))
    assert words(command.argv, "--otlp-traces-endpoint") == "http://c:4318/v1/traces"
    assert command.env["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] == "http/protobuf"
    assert command.env["OTEL_RESOURCE_ATTRIBUTES"] == "baryon.model=org%2Fm"
    untraced = vllm_command(launch(), (0,))
    assert "--otlp-traces-endpoint" not in untraced.argv
    assert not [name for name in untraced.env if name.startswith("OTEL")]


def test_an_operators_arguments_win_over_ours() -> None:
    argv = vllm_command(launch(engine_args={"dtype": "bfloat16", "enforce_eager": False, "max_num_seqs": 3}), (0,)).argv
    assert words(argv, "--dtype") == "bfloat16"
    assert "--no-enforce-eager" in argv
    assert words(argv, "--max-num-seqs") == "3"


def test_null_takes_our_default_away_so_that_vllms_own_holds() -> None:
    assert "--dtype" not in vllm_command(launch(engine_args={"dtype": None}), (0,)).argv


def test_cpu_defaults_do_not_reach_a_gpu() -> None:
    argv = vllm_command(launch(device="cuda"), (0,)).argv
    assert "--dtype" not in argv
    assert "--enforce-eager" not in argv


def test_tensor_parallel_workers_on_a_cpu_are_bound_to_cores() -> None:
    assert vllm_command(launch(tensor_parallel_size=3), (0, 1)).env["VLLM_CPU_OMP_THREADS_BIND"] == "0|1|0"
    assert "VLLM_CPU_OMP_THREADS_BIND" not in vllm_command(launch(), (0, 1)).env


def test_a_rank_of_an_engine_that_spans_nodes() -> None:
    command = vllm_command(launch(device="cuda", rank=Rank(2, 1, "10.0.0.1", 29501, "10.0.0.2")), (0,))
    assert words(command.argv, "--nnodes") == "2"
    assert words(command.argv, "--node-rank") == "1"
    assert words(command.argv, "--master-addr") == "10.0.0.1"
    assert command.env["VLLM_HOST_IP"] == "10.0.0.2"
    assert "--headless" in command.argv
    assert "--headless" not in vllm_command(launch(rank=Rank(2, 0, "10.0.0.1", 29501, "10.0.0.1")), (0,)).argv


def test_pipeline_stages_on_a_cpu_are_compiled_since_only_then_they_work() -> None:
    argv = vllm_command(launch(pipeline_parallel_size=2), (0,)).argv
    assert "--enforce-eager" not in argv
    assert orjson.loads(words(argv, "--compilation-config")) == {"backend": "eager"}


@given(st.lists(st.integers(0, 63), min_size=1, max_size=16, unique=True), st.integers(1, 9))
def test_every_worker_has_cores_and_none_is_idle(cores: list[int], workers: int) -> None:
    parts = [tuple(map(int, part.split(","))) for part in thread_binding(tuple(cores), workers).split("|")]
    assert len(parts) == workers
    assert all(parts)
    assert {core for part in parts for core in part} == set(cores)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("max_model_length", 1, "did you mean max_model_len?"),
        ("max-model-len", 1, "did you mean max_model_len?"),
        ("port", 1, "set by the replica itself"),
        ("api_key", "x", "set by the gateway"),
        ("trust_remote_code", True, "refused"),
        ("enforce_eager", 1, "true or false"),
        ("dtype", "float31", "expects one of"),
        ("chat_template", "--trust-remote-code", "read as another argument"),
        ("lora_modules", ["a=b", "--trust-remote-code"], "read as another argument"),
    ],
)
def test_an_argument_that_cannot_work_is_explained(name: str, value: object, words: str) -> None:
    problem = problem_with(name, value)
    assert problem is not None
    assert words in problem


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("max_model_len", 4096, ("--max-model-len", "4096")),
        ("enable_prefix_caching", False, ("--no-enable-prefix-caching",)),
        ("disable_log_stats", False, ()),
        ("hf_overrides", {"a": 1}, ("--hf-overrides", '{"a": 1}')),
        ("lora_modules", ["a=b", "c=d"], ("--lora-modules", "a=b", "c=d")),
        ("seed", None, ()),
        ("seed", -1, ("--seed", "-1")),
        ("dtype", None, ()),
        ("enforce_eager", None, ()),
    ],
)
def test_values_become_flags(name: str, value: object, line: tuple[str, ...]) -> None:
    assert problem_with(name, value) is None
    assert command_line(name, value) == line


def test_every_flag_we_set_ourselves_is_known() -> None:
    argv = vllm_command(launch(tensor_parallel_size=2, kv_cache_bytes=1, rank=Rank(2, 1, "x", 1, "y")), (0,)).argv
    ours = {word.partition("=")[0] for word in argv if word.startswith("--")}
    assert ours <= {flag.flag for flag in known_flags().values()}


@given(st.integers(0, 64 * GIB), st.integers(0, 64 * GIB))
def test_a_kv_cache_is_useful_bounded_and_leaves_half(available: int, weights: int) -> None:
    try:
        cache = kv_cache_bytes(available, weights)
    except NotEnoughMemory as error:
        assert "smaller model" in str(error)
    else:
        assert GIB // 4 <= cache <= LARGEST_DEFAULT_BYTES
        assert cache <= (available - weights) // 2


def container(folder: Path, limit: str, used_gib: int, droppable_files_gib: int) -> tuple[Path, Path]:
    (folder / "meminfo").write_text(f"MemTotal: 1 kB\nMemAvailable:   {64 * GIB // 1024} kB\n")
    (folder / "memory.max").write_text(limit + "\n")
    (folder / "memory.current").write_text(f"{used_gib * GIB}\n")
    (folder / "memory.stat").write_text(f"anon 1\ninactive_file {droppable_files_gib * GIB}\nactive_file 9\n")
    return folder / "meminfo", folder


def test_a_containers_limit_counts_and_files_it_can_drop_do_not(tmp_path: Path) -> None:
    """The weights that were just downloaded fill the page cache."""
    assert available_memory_bytes(*container(tmp_path, str(16 * GIB), 14, 10)) == 12 * GIB


def test_without_a_limit_the_machine_counts(tmp_path: Path) -> None:
    assert available_memory_bytes(*container(tmp_path, "max", 14, 10)) == 64 * GIB
    assert available_memory_bytes(tmp_path / "meminfo", tmp_path / "no-cgroup") == 64 * GIB
    assert available_memory_bytes(*container(tmp_path, str(1 << 50), 1, 0)) == 64 * GIB
