"""Causes are read from what engines really say (vLLM 0.32's words, shortened)."""

import pytest

from engine.failure import classify

TAILS = {
    "port_taken": [
        "(APIServer pid=1) INFO 11-23 15:05:01 [entry.py:44] starting",
        "OSError: [Errno 98] Address already in use",
    ],
    "bad_weights": [
        "(Worker pid=3) ERROR 11-23 15:05:01 [multiproc.py:9] safetensors_rust.SafetensorError: Error while "
        "deserializing header: MetadataIncompleteBuffer",
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}",
    ],
    "unsupported_model": [
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
        "  Value error, Model architectures ['NopeForCausalLM'] are not supported for now. Supported: ...",
    ],
    "out_of_memory": [
        "ValueError: To serve at least one request with the models's max seq len (4096), 0.2 GiB KV cache is "
        "needed, which is larger than the available KV cache memory (0.01 GiB).",
    ],
    "bad_argument": ["api_server.py: error: unrecognized arguments: --no-such-flag"],
}


@pytest.mark.parametrize("cause", TAILS)
def test_each_cause_is_recognised_and_its_words_are_kept(cause: str) -> None:
    failure = classify(1, TAILS[cause])
    assert failure.cause == cause
    assert "The engine said: " in failure.message
    assert "INFO" not in failure.message


def test_a_signal_is_named_and_the_oom_killer_mentioned() -> None:
    failure = classify(128 + 9, ["INFO all was well"])
    assert failure.cause == "killed"
    assert "SIGKILL" in failure.message
    assert "out-of-memory" in failure.message


def test_a_member_that_vanished_is_killed_not_unknown() -> None:
    failure = classify(75, ["[reaper] VLLM::EngineCore (pid 7) is gone: ending the engine"])
    assert failure.cause == "killed"
    assert "VLLM::EngineCore" in failure.message


def test_an_information_line_is_never_taken_for_a_cause() -> None:
    assert classify(1, ["INFO config: trust_remote_code=False, out of memory handling=on"]).cause == "unknown"


def test_the_unknown_keeps_the_last_error() -> None:
    failure = classify(3, ["ZeroDivisionError: division by zero", "INFO bye"])
    assert failure.cause == "unknown"
    assert "ZeroDivisionError" in failure.message
