"""Each command of the image's RUN steps, outside a container as far as it goes. The image itself is not built here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.unit.chart.dockerfile import PATH, copied, run_commands
from tests.unit.chart.helm import ROOT

UV = "pip install --no-deps uv==0.13.9"
CPU_LOCK = "uv pip install --prefix /install --no-deps --torch-backend cpu -r requirements/cpu.txt"
GPU_LOCK = "uv pip install --prefix /install --no-deps -r requirements/gpu.txt"
BUILD_TOOL = "pip install --no-deps setuptools==78.1.1"
BARYON = "pip install --no-deps --no-build-isolation --prefix /install ."
SYSTEM = ["apt-get update", "apt-get install --yes --no-install-recommends bash gcc libc6-dev libgomp1 libnuma1 wget"]
ACCOUNT = [
    "rm -rf /var/lib/apt/lists/*",
    "groupadd --gid 10001 baryon",
    "useradd --uid 10001 --gid 10001 --home-dir /home/baryon --create-home baryon",
    "mkdir -p /var/lib/baryon /var/cache/baryon /var/log/baryon",
    "chown 10001:10001 /var/lib/baryon /var/cache/baryon /var/log/baryon",
]
IN_FOLDERS_OF_ITS_OWN = """
mount --make-rprivate / && cp -r /etc "$1/etc" 2>/dev/null; mount --bind "$1/etc" /etc &&
for folder in /home /var/lib /var/cache /var/log; do mount -t tmpfs own $folder || exit 1; done
mkdir -p /var/lib/apt/lists && touch /var/lib/apt/lists/one
"""


def test_every_command_is_tried_below() -> None:
    assert run_commands() == [UV, CPU_LOCK, GPU_LOCK, BUILD_TOOL, BARYON, *SYSTEM, *ACCOUNT]


def test_the_linter_finds_nothing() -> None:
    fetched = ROOT / ".tools" / "hadolint" / "bin" / "hadolint"
    hadolint = str(fetched) if fetched.exists() else shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: scripts/chart_tools.sh fetches it")
    done = subprocess.run([hadolint, str(PATH)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def pip(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Failed to establish a new connection" in done.stderr or "No route to host" in done.stderr:
        pytest.skip("no package registry answers")
    return done


@pytest.mark.slow
def test_the_installer_and_all_pins_of_both_locks_can_be_had(tmp_path: Path) -> None:
    """But for PyTorch's CPU build, whose index is another one."""
    uv_only, tool = (command.removeprefix("pip install ").split() for command in (UV, BUILD_TOOL))
    for wanted in (uv_only, tool):
        done = pip("install", "--target", str(tmp_path / "tools"), *wanted)
        assert done.returncode == 0, done.stderr
    cpu = (ROOT / "requirements" / "cpu.txt").read_text().splitlines()
    (tmp_path / "cpu.txt").write_text("\n".join(line for line in cpu if not line.startswith("torch==")))
    for lock in (tmp_path / "cpu.txt", ROOT / "requirements" / "gpu.txt"):
        command = [str(tmp_path / "tools" / "bin" / "uv"), "pip", "install", "--dry-run", "--python", sys.executable]
        command += ["--prefix", str(tmp_path / "install"), "--no-deps", "-r", str(lock)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_the_gpu_lock_is_all_that_its_packages_ask_for(tmp_path: Path) -> None:
    """Resolved by their registry's metadata, CUDA's builds too. test_locks.py checks the CPU's by what is installed."""
    assert pip("install", "--target", str(tmp_path / "tools"), *UV.removeprefix("pip install ").split()).returncode == 0
    lock = ROOT / "requirements" / "gpu.txt"
    command = [str(tmp_path / "tools" / "bin" / "uv"), "pip", "install", "--dry-run", "--no-cache"]
    command += ["--python", sys.executable, "--prefix", str(tmp_path / "install"), "-r", str(lock)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    would = [line.removeprefix(" + ") for line in done.stderr.splitlines() if line.startswith(" + ")]
    pins = [line for line in lock.read_text().splitlines() if not line.startswith("#")]
    assert sorted(map(plain, would)) == sorted(map(plain, pins))


def plain(pin: str) -> str:
    name, _, version = pin.partition("==")
    return f"{canonicalize_name(name.partition('[')[0])}=={version}"


@pytest.mark.slow
def test_baryon_installs_from_what_is_copied_and_runs(tmp_path: Path) -> None:
    source, prefix = tmp_path / "src", tmp_path / "install"
    source.mkdir()
    for name in copied():
        here = ROOT / name
        if here.is_dir():
            shutil.copytree(here, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(here, source)
    arguments = BARYON.removeprefix("pip ").replace("/install", str(prefix)).split()
    others_stay = "--ignore-installed"  # with a prefix, too, pip removes what it finds of the same name
    pip = [sys.executable, "-m", "pip", *arguments, others_stay]
    done = subprocess.run(pip, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    (packages,) = prefix.glob("lib/python*/site-packages")
    environment = {**os.environ, "PYTHONPATH": str(packages)}
    for command in (
        [str(prefix / "bin" / "baryon"), "--help"],
        [sys.executable, "-m", "cluster.node_drain", "--help"],
        [sys.executable, "-m", "cluster.key_files", "--help"],
    ):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
    tracked = subprocess.run(["git", "ls-files", *copied()], cwd=ROOT, capture_output=True, text=True, check=True)
    data = [name for name in tracked.stdout.split() if "/" in name and not name.startswith("requirements/")]
    assert [name for name in data if not (packages / name).exists()] == []


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("apt-get"), reason="this is no Debian")
def test_debian_has_the_system_packages(tmp_path: Path) -> None:
    if "VERSION_CODENAME=bookworm" not in Path("/etc/os-release").read_text():
        pytest.skip("this is not the base image's Debian")
    for name in ("lists/partial", "archives/partial"):
        (tmp_path / name).mkdir(parents=True)
    own = ["-o", f"Dir::State::lists={tmp_path}/lists", "-o", f"Dir::Cache={tmp_path}"]
    own += ["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root"]
    update, install = (command.split() for command in SYSTEM)
    fetched = subprocess.run([*update, *own, "-qq"], capture_output=True, text=True, check=False)
    if fetched.returncode or not any((tmp_path / "lists").glob("*Packages*")):
        pytest.skip(f"no archive answers: {fetched.stderr[-200:]}")
    done = subprocess.run([*install, *own, "--simulate"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="other accounts are made by root alone")
def test_its_account_and_folders_are_made(tmp_path: Path) -> None:
    """In a mount namespace: this machine's own accounts stay as they are."""
    steps = " &&\n".join(ACCOUNT)
    see = "id -u baryon; stat -c '%u:%g %n' /home/baryon /var/*/baryon; ls -A /var/lib/apt/lists"
    command = ["unshare", "--mount", "bash", "-c", f"{IN_FOLDERS_OF_ITS_OWN}\n{steps} || exit 1\n{see}", "x"]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, check=False)
    if "unshare failed" in done.stderr:
        pytest.skip("this machine allows no namespaces")
    assert done.returncode == 0, done.stderr
    folders = ["/home/baryon", "/var/cache/baryon", "/var/lib/baryon", "/var/log/baryon"]
    assert done.stdout.split("\n")[:-1] == ["10001", *(f"10001:10001 {folder}" for folder in folders)]
