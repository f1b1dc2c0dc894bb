"""A model folder is whole or absent, whoever is killed; the real hub client, against a small hub."""

import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.weights.errors import ModelStoreError
from engine.weights.folder import MANIFEST, damage
from engine.weights.model_facts import ModelFactsError, read_model_facts
from engine.weights.source import Bundled, Hub, Local
from engine.weights.store import ModelStore
from tests.unit.weights.hub import SmallHub

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


def start_fetch(root: Path, url: str, source: str = "hf:org/name@main") -> "subprocess.Popen[str]":
    environment = {
        **os.environ,
        "HF_ENDPOINT": url,
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "0",
    }
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(root), source],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fetch(root: Path, url: str, source: str = "hf:org/name@main") -> tuple[int, str, str]:
    process = start_fetch(root, url, source)
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
    hub = SmallHub(dict(FILES), cut_after_bytes=1000)
    codes = [fetch(tmp_path, hub.url)[0]]
    if codes[0] != 0:
        assert not folder_of(tmp_path).exists()
        codes.append(fetch(tmp_path, hub.url)[0])
    hub.close()
    assert codes[-1] == 0
    assert (folder_of(tmp_path) / "model.safetensors").read_bytes() == FILES["model.safetensors"]


def test_two_processes_share_one_download(tmp_path: Path, hub: SmallHub) -> None:
    both = [start_fetch(tmp_path, hub.url) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert hub.requests["model.safetensors"] == 1


@pytest.mark.parametrize(
    ("source", "words"),
    [("hf:org/missing@main", "has no repository org/missing"), ("hf:org/gated@main", "is gated: accept its terms")],
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


def test_a_killed_process_leaves_nothing_half_made_and_no_lock(tmp_path: Path) -> None:
    """Killed just after it says that it downloads; the kernel frees its lock."""
    process = start_fetch(tmp_path, "http://127.0.0.1:9", "bundled:tiny-random-llama")
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = ModelStore(tmp_path).folder(Bundled("tiny-random-llama"))
    assert not folder.exists()
    lock = folder.with_name(folder.name + ".lock")
    assert lock.exists()
    from filelock import FileLock

    with FileLock(lock, timeout=10):
        pass


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
