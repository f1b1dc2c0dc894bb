"""The Dockerfile's instructions, and the shell commands of its RUN steps."""

import re
from pathlib import Path

PATH = Path(__file__).resolve().parents[3] / "k8s" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Each instruction and its words, continued lines joined."""
    text = re.sub(r"\\\n", " ", PATH.read_text())
    lines = [line.split(maxsplit=1) for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, " ".join(words.split())) for name, words in lines]


def run_commands() -> list[str]:
    return [command.strip() for name, words in instructions() if name == "RUN" for command in words.split("&&")]


def copied() -> list[str]:
    """What is copied from the checkout, not from another stage."""
    words = [words.split() for name, words in instructions() if name == "COPY" and "--from" not in words]
    return [source for copy in words for source in copy[:-1]]
