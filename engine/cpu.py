"""What this machine's processors can do, as far as an engine cares."""

import itertools
import os
from dataclasses import dataclass
from pathlib import Path

NATIVE_BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})


@dataclass(frozen=True, slots=True)
class Cpu:
    """`cores` are the ids this process may run on."""

    cores: tuple[int, ...]
    has_native_bfloat16: bool


def this_cpu(cpuinfo: Path = Path("/proc/cpuinfo")) -> Cpu:
    return Cpu(
        cores=tuple(sorted(os.sched_getaffinity(0))), has_native_bfloat16=has_native_bfloat16(cpuinfo.read_text())
    )


def has_native_bfloat16(cpuinfo: str) -> bool:
    """Whether `/proc/cpuinfo` (x86 `flags`, Arm `Features`) lists a bfloat16 instruction set."""
    return any(
        NATIVE_BFLOAT16_FLAGS & set(line.partition(":")[2].split())
        for line in cpuinfo.splitlines()
        if line.startswith(("flags", "Features"))
    )


def thread_binding(cores: tuple[int, ...], workers: int) -> str:
    """vLLM's `VLLM_CPU_OMP_THREADS_BIND`: each worker's cores, workers parted by `|`.

    With fewer cores than workers, workers share: cores (0, 1) for three workers give `0|1|0`.
    """
    if workers >= len(cores):
        return "|".join(str(cores[worker % len(cores)]) for worker in range(workers))
    share, extra = divmod(len(cores), workers)
    bounds = [worker * share + min(worker, extra) for worker in range(workers + 1)]
    return "|".join(",".join(str(core) for core in cores[start:end]) for start, end in itertools.pairwise(bounds))
