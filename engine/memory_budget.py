"""How much memory a CPU engine may give its KV cache."""

from pathlib import Path

GIB = 1 << 30
RUNTIME_BYTES = 3 * GIB
LARGEST_DEFAULT_BYTES = 4 * GIB
SMALLEST_USEFUL_BYTES = GIB // 4


class NotEnoughMemory(Exception):
    """The weights and vLLM's own processes leave no room for a KV cache."""


def kv_cache_bytes(available_bytes: int, weights_bytes: int) -> int:
    """Half of what is free after the weights and the runtime, at most 4 GiB unless the operator asks for more.

    A CPU engine's processes (API server, engine core, worker) take about 3 GiB beside the weights (measured with vLLM
    0.32). Half, because the machine is shared with Ray, the gateways and other replicas.

    Raises:
        NotEnoughMemory: less than 256 MiB would be left.
    """
    free_bytes = (available_bytes - weights_bytes - RUNTIME_BYTES) // 2
    if free_bytes < SMALLEST_USEFUL_BYTES:
        raise NotEnoughMemory(
            f"{available_bytes / GIB:.1f} GiB are free; the weights take {weights_bytes / GIB:.1f} GiB and the "
            f"engine's processes about {RUNTIME_BYTES / GIB:.0f} GiB, which leaves no room for a KV cache. "
            "Free some memory, or serve a smaller model."
        )
    return min(free_bytes, LARGEST_DEFAULT_BYTES)


def available_memory_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """The smaller of what the machine has free and what this container's limit leaves.

    Files in the page cache count as used by a container, and just-written weights are files; the kernel drops those it
    lists as inactive when memory is needed.
    """
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    machine_bytes = int(fields["MemAvailable"].split()[0]) * 1024
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
    except OSError:
        return machine_bytes
    return machine_bytes if limit == "max" else min(machine_bytes, int(limit) - used + int(stat["inactive_file"]))
