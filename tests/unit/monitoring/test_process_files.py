"""A process's files have room for all that it may count, from the beginning."""

import subprocess
import sys
from pathlib import Path

from deployments.gateway.request_metrics import KNOWN_CLASSES
from monitoring.metrics import BARYON
from monitoring.process_files import ALLOCATED_BYTES

BUSY = """
import sys
from pathlib import Path
from random import Random
from monitoring import instruments, metrics
from monitoring.process_files import write_to_files
write_to_files(Path(sys.argv[1]))
random, of = Random(1), instruments.histogram(metrics.ITL, None)
for priority in range(int(sys.argv[2])):
    times_ms = [random.lognormvariate(5, 3) for _ in range(300)]
    instruments.Milliseconds(of.labels("llama-3.1-8b-instruct", str(priority)), metrics.ITL).add(times_ms)
"""


def test_histograms_never_outgrow_their_file_whatever_the_times_are(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", BUSY, str(tmp_path), str(KNOWN_CLASSES)], check=True)
    (path,) = tmp_path.glob("histogram_*.db")
    with path.open("rb") as file:
        used_bytes = int.from_bytes(file.read(4), sys.byteorder)
    histograms = sum(metric.has_native_buckets for metric in BARYON)
    assert used_bytes * histograms <= ALLOCATED_BYTES["histogram"] == path.stat().st_size
