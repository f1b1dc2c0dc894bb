"""The GPUs of this machine, as NVIDIA's management library tells; none where there is no library or no GPU."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Gpu:
    """`utilization`: the share of the last sample period in which a kernel ran."""

    index: int
    memory_used_bytes: int
    memory_total_bytes: int
    utilization: float


class Gpus:
    """Opened once. What NVML cannot tell of a GPU (a MIG instance has no utilization) leaves that GPU out."""

    def __init__(self) -> None:
        self._nvml = _opened()

    def now(self) -> Sequence[Gpu]:
        if self._nvml is None:
            return ()
        try:
            count = self._nvml.nvmlDeviceGetCount()
        except self._nvml.NVMLError:
            return ()
        return [gpu for index in range(count) if (gpu := _gpu(self._nvml, index)) is not None]


def _opened() -> Any | None:
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _gpu(nvml: Any, index: int) -> Gpu | None:
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        memory, use = nvml.nvmlDeviceGetMemoryInfo(handle), nvml.nvmlDeviceGetUtilizationRates(handle)
    except nvml.NVMLError:
        return None
    return Gpu(index, int(memory.used), int(memory.total), use.gpu / 100)
