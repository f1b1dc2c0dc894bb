"""`python -m tests.contract.counting_gateway FOLDER`: counts in files as a gateway does. Each line that it reads is a
round of requests with the times to first token of `TTFTS_MS`; it answers when they are counted.
"""

import asyncio
import os
import signal
import sys
from array import array
from asyncio.subprocess import PIPE, Process
from pathlib import Path

from deployments.gateway.request_metrics import RequestMetrics
from monitoring.label_slots import LabelSlots
from monitoring.process_files import write_to_files
from tests.unit.gateway.test_request_metrics import completed

TTFTS_MS = tuple(5.0 * 12_000 ** (number / 199) for number in range(200))
GAPS_MS = (4.0, 12.0, 55.0)


class CountingGateway:
    """One that runs in `process`. `counted`: its requests."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.counted = 0

    @classmethod
    async def started(cls, folder: Path) -> "CountingGateway":
        command = (sys.executable, "-m", __name__, str(folder))
        return cls(await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE))

    async def count_round(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(b"\n")
        assert await self._process.stdout.readline() == b"counted\n"
        self.counted += len(TTFTS_MS)

    async def kill(self) -> None:
        os.kill(self._process.pid, signal.SIGKILL)
        await self._process.wait()


def main() -> None:
    files = write_to_files(Path(sys.argv[1]))
    observe = RequestMetrics(LabelSlots(files.folder / "tenants.jsonl", 400))
    for _ in sys.stdin:
        for ttft_ms in TTFTS_MS:
            record = completed()
            record.ttft_ms, record.gaps_ms = ttft_ms, array("f", GAPS_MS)
            observe(record)
        observe.flush()
        print("counted", flush=True)


if __name__ == "__main__":
    main()
