"""Which cores an engine's workers run on."""

import itertools
import os


def available_cores() -> tuple[int, ...]:
    """The ids of the cores that this process may run on."""
    return tuple(sorted(os.sched_getaffinity(0)))


def thread_binding(cores: tuple[int, ...], workers: int) -> str:
    """vLLM's `VLLM_CPU_OMP_THREADS_BIND`: each worker's cores, workers parted by `|`.

    With fewer cores than workers, workers share: cores (0, 1) for three workers give `0|1|0`.
    """
    if workers >= len(cores):
        return "|".join(str(cores[worker % len(cores)]) for worker in range(workers))
    share, extra = divmod(len(cores), workers)
    bounds = [worker * share + min(worker, extra) for worker in range(workers + 1)]
    return "|".join(",".join(str(core) for core in cores[start:end]) for start, end in itertools.pairwise(bounds))
