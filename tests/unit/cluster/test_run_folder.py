"""What engines print is found where people look."""

import subprocess
import sys
from pathlib import Path

from ray._private.ray_constants import SESSION_LATEST
from ray.dashboard.modules.log.log_agent import LogAgentV1Grpc

from cluster.run_folder import RunFolder
from engine.line_log import LineLog


def test_rays_dashboard_finds_what_engines_print_among_the_logs_of_this_session(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    logs = folder.ray_folder / "session_of_now" / "logs"
    logs.mkdir(parents=True)
    (folder.ray_folder / SESSION_LATEST).symlink_to("session_of_now")
    command = (sys.executable, "-c", "print('loading weights')")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        LineLog(process.stdout, folder.log_folder / "m-r1.log", "r1").wait_for_end(10)
    assert [str(path.relative_to(logs)) for path in logs.glob("engines/*")] == ["engines/m-r1.log"]
    found = LogAgentV1Grpc._resolve_filename(logs, "engines/m-r1.log")
    assert found.read_text() == "[r1] loading weights\n"
