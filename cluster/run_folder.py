"""Where a running cluster keeps what belongs to this run, and what `baryon down` must know to end it."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The head process by pid and start time (clock ticks since boot), and where the cluster is reached.

    `admin_url`: of the console; empty if there is none.
    """

    pid: int
    start_ticks: int
    gcs_address: str
    dashboard_url: str
    gateway_url: str
    config_path: str
    admin_url: str = ""


class RunFolder:
    """A folder only its owner can read. `BARYON_RUN_DIR` names another, so that two clusters can share a machine.

    `log_folder`: of engines' output, among Ray's own logs of the session, where Ray's dashboard finds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.ray_folder = path / "ray"
        self.log_folder = self.ray_folder / "session_latest" / "logs" / "engines"
        self.state_path = path / "state.sqlite"
        self.usage_path = path / "usage.sqlite"
        self._record_path = path / "run.json"

    def write(self, record: RunRecord) -> None:
        self._record_path.touch(mode=0o600)
        self._record_path.write_bytes(orjson.dumps(asdict(record)))

    def read(self) -> RunRecord | None:
        try:
            return RunRecord(**orjson.loads(self._record_path.read_bytes()))
        except (OSError, orjson.JSONDecodeError, TypeError):
            return None

    def clear(self) -> None:
        self._record_path.unlink(missing_ok=True)


def default_run_folder() -> RunFolder:
    return RunFolder(Path(os.environ.get("BARYON_RUN_DIR") or f"/tmp/baryon-{os.getuid()}"))  # noqa: S108


def store_folder() -> Path:
    """The model store: `$BARYON_HOME/models`, by default in the user's cache folder."""
    home = os.environ.get("BARYON_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "baryon") / "models"
