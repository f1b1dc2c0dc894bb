"""Why an engine ended, in a word for programs and a sentence for people, read from its exit code and last lines."""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Cause = Literal[
    "out_of_memory",
    "bad_weights",
    "unsupported_model",
    "bad_argument",
    "port_taken",
    "killed",
    "hung",
    "start_timeout",
    "download_failed",
    "node_lost",
    "unknown",
]

CANNOT_HEAL: frozenset[Cause] = frozenset({"bad_weights", "unsupported_model", "bad_argument"})
"""What another try with the same weights and arguments meets again."""


@dataclass(frozen=True, slots=True)
class Failure:
    """`message` says what happened, what the engine's own words were, and what to do."""

    cause: Cause
    message: str


class EngineFailed(Exception):
    """The engine could not be started or has ended."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.cause}: {failure.message}")
        self.failure = failure


@dataclass(frozen=True, slots=True)
class _Rule:
    cause: Cause
    pattern: re.Pattern[str]
    advice: str
    lines_after: int = 0


_RULES = (
    _Rule(
        "port_taken",
        re.compile(r"address already in use|Errno 98", re.IGNORECASE),
        "Another process took the engine's port between its choice and its use; a new one is chosen.",
    ),
    _Rule(
        "out_of_memory",
        re.compile(
            r"out of memory|OutOfMemoryError|Cannot allocate memory|std::bad_alloc|No available memory for the cache"
            r"|larger than the (?:available|maximum number of tokens) .*KV cache|KV cache .* is (?:larger|needed)"
            r"|Free memory on device|not enough memory|DefaultCPUAllocator|less than requested memory for kv",
            re.IGNORECASE,
        ),
        "Lower max_model_len or the KV cache, raise tensor_parallel_size, or serve a smaller model; `baryon plan` shows"
        " what fits.",
    ),
    _Rule(
        "bad_weights",
        re.compile(
            r"SafetensorError|HeaderTooLarge|InvalidHeader|MetadataIncompleteBuffer|header too large"
            r"|incomplete metadata|Cannot find any model weights|size mismatch|shape mismatch"
            r"|were not initialized from checkpoint|unexpected EOF|file is corrupt"
            r"|cannot fit 'int' into an index-sized integer|'utf-8' codec can't decode|must match the size of tensor",
            re.IGNORECASE,
        ),
        "The weight files are damaged or belong to another model; remove them from the model store and start again.",
    ),
    _Rule(
        "unsupported_model",
        re.compile(
            r"architectures? .*(?:not supported|are not supported)|does not recognize this architecture"
            r"|Model architectures .* failed to be inspected|not supported for now|has no vLLM implementation"
            r"|model type .* not recogni[sz]ed|requires you to execute|must be divisible by tensor parallel size",
            re.IGNORECASE,
        ),
        "This engine version cannot run this model as configured.",
    ),
    _Rule(
        "bad_argument",
        re.compile(
            r"error: (?:unrecognized arguments|argument )|greater than the derived max_model_len|ValidationError"
        ),
        "Correct engine_args in baryon.yaml.",
        lines_after=1,
    ),
)
_NOISE = re.compile(
    r"\b(?:INFO|DEBUG|WARNING)\b|Engine core initialization failed|See root cause above|Traceback|resource_tracker"
    r"|EngineDeadError"
)
_LOST = re.compile(r"^\[reaper\] (?P<title>.+ \(pid (?P<pid>\d+)\)) is gone")
_PREFIX = re.compile(r"^(?:\([^)]*\)\s*)*(?:(?:ERROR|INFO|WARNING)\s+[\d-]+ [\d:.]+ \[[^\]]*\]\s*)?")


def classify(exit_code: int | None, log_tail: Sequence[str]) -> Failure:
    """The most likely cause: the first rule that a line matches, rules in order of how certain their words are.

    `exit_code` follows the shell's convention (128 + signal); None when the process still ran.
    """
    for rule in _RULES:
        for index in range(len(log_tail) - 1, -1, -1):
            if rule.pattern.search(log_tail[index]) and not _NOISE.search(log_tail[index]):
                words = " ".join(map(_words, log_tail[index : index + 1 + rule.lines_after]))
                return Failure(rule.cause, f"{rule.advice} The engine said: {words}")
    if exit_code is not None and (ended_by := _signal(exit_code - 128)) is not None:
        hint = " The kernel's out-of-memory killer sends this signal too." if ended_by == signal.SIGKILL else ""
        return Failure("killed", f"The engine was ended by {ended_by.name}.{hint}")
    errors = [line for line in log_tail if _names_an_error(line)]
    lost = next(filter(None, map(_LOST.search, reversed(log_tail))), None)
    if lost is not None:
        errors = [line for line in errors if f"pid={lost['pid']})" in line]
        if not errors:
            return Failure("killed", f"A process of the engine ended without a word: {lost['title']}")
    last_error = errors[-1] if errors else None
    said = f"The engine said: {_words(last_error)}" if last_error else "It left no error in its log."
    return Failure("unknown", f"The engine exited with code {exit_code}. {said}")


def _signal(number: int) -> signal.Signals | None:
    try:
        return signal.Signals(number)
    except ValueError:
        return None


def _names_an_error(line: str) -> bool:
    return re.search(r"\w(?:Error|Exception)\b", line) is not None and not _NOISE.search(line)


def _words(line: str) -> str:
    return _PREFIX.sub("", line.strip())[:400]
