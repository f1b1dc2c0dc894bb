"""GPUs as NVML tells of them; a machine without any has none to tell."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from monitoring.gpus import Gpu, Gpus

GIB = 2**30


class NVMLError(Exception):
    pass


def nvml(devices: list[SimpleNamespace | None]) -> ModuleType:
    def handle(index: int) -> SimpleNamespace:
        found = devices[index]
        if found is None:
            raise NVMLError
        return found

    module = ModuleType("pynvml")
    module.__dict__.update(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(devices),
        nvmlDeviceGetHandleByIndex=handle,
        nvmlDeviceGetMemoryInfo=lambda device: SimpleNamespace(used=device.used, total=80 * GIB),
        nvmlDeviceGetUtilizationRates=lambda device: SimpleNamespace(gpu=device.use),
    )
    return module


def test_each_gpu_tells_its_memory_and_use(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = SimpleNamespace(used=60 * GIB, use=93)
    monkeypatch.setitem(sys.modules, "pynvml", nvml([busy, None]))
    assert Gpus().now() == [Gpu(0, 60 * GIB, 80 * GIB, 0.93)]


def test_without_a_gpu_or_its_library_there_is_nothing_to_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise NVMLError

    without = nvml([])
    without.__dict__["nvmlInit"] = fails
    monkeypatch.setitem(sys.modules, "pynvml", without)
    assert Gpus().now() == ()
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Gpus().now() == ()
