"""`python -m tests.end_to_end.pod_init SPEC`: the first process of a pod, in namespaces of its own.

It mounts what the pod's containers mount, takes the network that comes in after a line on stdin, makes the rest of the
file system read-only, and becomes the pod's command as a user without rights. SPEC is JSON, see `pods.Pod`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

CODE = Path("/mnt")
HIDDEN = ("/home", "/var/lib", "/var/cache", "/var/log", "/run")


def main(spec: dict[str, Any]) -> None:
    _mount("--make-rprivate", "/")
    _mount("--rbind", spec["code"], str(CODE))
    copy = Path(spec["folder"]) / "etc"
    subprocess.run(["cp", "-r", "/etc", str(copy)], check=False, stderr=subprocess.DEVNULL)  # but for what is secret
    _mount("--bind", str(copy), "/etc")
    for folder in HIDDEN:
        _mount("-t", "tmpfs", "empty", folder)
    for volume in sorted(spec["mounts"], key=lambda volume: (volume["path"] == "/tmp", volume["path"])):
        Path(volume["path"]).mkdir(parents=True, exist_ok=True)
        _mount("--rbind", volume["from"], volume["path"])
        if volume["read_only"]:
            _mount("-o", "remount,bind,ro", volume["path"])
    for folder in (*HIDDEN, "/etc", str(CODE), "/"):
        _mount("-o", "remount,bind,ro", folder)
    print("mounted", flush=True)
    sys.stdin.readline()
    _ip("link", "set", "lo", "up")
    _ip("addr", "add", f"{spec['address']}/24", "dev", "eth1")
    _ip("link", "set", "eth1", "up")
    _ip("route", "add", "default", "via", spec["router"])
    os.chdir(CODE)
    nobody = ["unshare", "--user", f"--map-user={spec['user']}", f"--map-group={spec['group']}"]
    os.execvpe("unshare", [*nobody, *spec["command"]], spec["environment"])


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
