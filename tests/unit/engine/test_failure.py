"""Causes are read from what engines really say: `tails/` has vLLM 0.32's own words, provoked."""

from pathlib import Path

import pytest

from engine.failure import classify

TAILS = sorted(Path(__file__).with_name("tails").glob("*.txt"))


@pytest.mark.parametrize("tail", TAILS, ids=lambda path: path.stem)
def test_each_cause_is_recognised_and_its_words_are_kept(tail: Path) -> None:
    """The file's name starts with the cause that was provoked."""
    failure = classify(1, tail.read_text().splitlines())
    assert failure.cause == tail.stem.partition("--")[0]
    assert "The engine said: " in failure.message
    assert "INFO" not in failure.message
    assert len(failure.message) < 1000


@pytest.mark.parametrize("exit_code", [1, 75, 137])
def test_the_engines_own_words_count_more_than_how_it_ended(exit_code: int) -> None:
    """The reaper ends the rest of an engine whose worker has failed, so its exit code says nothing of why."""
    for tail in TAILS:
        assert classify(exit_code, tail.read_text().splitlines()).cause != "killed"


def test_a_signal_is_named_and_the_oom_killer_mentioned() -> None:
    failure = classify(128 + 9, ["INFO all was well"])
    assert failure.cause == "killed"
    assert "SIGKILL" in failure.message
    assert "out-of-memory" in failure.message


def test_a_member_that_vanished_is_killed_not_unknown() -> None:
    failure = classify(75, ["[reaper] VLLM::EngineCore (pid 7) is gone: ending the engine"])
    assert failure.cause == "killed"
    assert "VLLM::EngineCore" in failure.message


def test_a_member_that_failed_by_itself_is_not_said_to_have_been_killed() -> None:
    own = "(Worker pid=7) ERROR 11-23 16:46:15 [executor.py:1] ZeroDivisionError: division by zero"
    failure = classify(75, [own, "[reaper] VLLM::Worker (pid 7) is gone: ending the engine"])
    assert failure.cause == "unknown"
    assert "ZeroDivisionError" in failure.message
    another = own.replace("pid=7", "pid=8")
    assert classify(75, [another, "[reaper] VLLM::Worker (pid 7) is gone: ending the engine"]).cause == "killed"


@pytest.mark.parametrize("exit_code", [168, 255])
def test_a_high_exit_code_that_is_no_signal_is_not_taken_for_one(exit_code: int) -> None:
    assert classify(exit_code, []).cause == "unknown"


def test_a_warning_is_never_taken_for_a_cause() -> None:
    line = "WARNING 11-23 16:44:54 [a.py:1] This can cause errors like `OSError: [Errno 98] Address already in use`"
    assert classify(1, [line]).cause == "unknown"


def test_an_information_line_is_never_taken_for_a_cause() -> None:
    assert classify(1, ["INFO config: trust_remote_code=False, out of memory handling=on"]).cause == "unknown"


def test_the_unknown_keeps_the_last_error() -> None:
    failure = classify(3, ["ZeroDivisionError: division by zero", "INFO bye"])
    assert failure.cause == "unknown"
    assert "ZeroDivisionError" in failure.message
