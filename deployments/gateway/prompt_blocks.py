"""A prompt as blocks of text: the same beginning gives the same blocks, whatever follows.

Engines cache by tokens, which the gateway does not have; a chain of hashes over the text stands for them. Blocks are
short at the beginning, where short prompts differ, and long further on, so that a long prompt is few of them.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

SIZES = ((16, 128), (16, 512), (8192, 2048))
HASH_BYTES = 8
BEFORE_THE_TURNS = ("system", "instructions", "tools", "functions", "response_format", "tool_choice")
TURNS = ("messages", "input", "prompt")


@dataclass(frozen=True, slots=True)
class PromptBlocks:
    """`hashes` of the full blocks, each over all text to its end; `ends` in bytes; `size_bytes` of the whole text."""

    hashes: tuple[int, ...]
    ends: tuple[int, ...]
    size_bytes: int


def prompt_blocks(document: dict[str, Any], salt: bytes) -> PromptBlocks:
    """`salt`: what else the engine's cache is divided by, such as the model or adapter, and the tenant."""
    return blocks_of(prompt_text(document), salt)


def token_blocks(token_ids: Sequence[int], salt: bytes) -> PromptBlocks:
    """Tokens have four bytes each here, about as many as of text."""
    return blocks_of(array("I", token_ids).tobytes(), salt)


def blocks_of(text: bytes, salt: bytes) -> PromptBlocks:
    hashes, ends = [], []
    parent = blake2b(salt, digest_size=HASH_BYTES).digest()
    begin = 0
    for end in block_ends(len(text)):
        parent = blake2b(parent + text[begin:end], digest_size=HASH_BYTES).digest()
        hashes.append(int.from_bytes(parent, "little"))
        ends.append(end)
        begin = end
    return PromptBlocks(tuple(hashes), tuple(ends), len(text))


def block_ends(size_bytes: int) -> Iterator[int]:
    """Where the full blocks of a text end."""
    end = 0
    for count, size in SIZES:
        for _ in range(count):
            end += size
            if end > size_bytes:
                return
            yield end


def prompt_text(document: dict[str, Any]) -> bytes:
    """What a chat template would render, in its order: what stands before the turns, then one turn after another."""
    parts = [
        b"%b:%b\n" % (name.encode(), _text(document[name]))
        for name in BEFORE_THE_TURNS
        if document.get(name) is not None
    ]
    for name in TURNS:
        turns = document.get(name)
        if isinstance(turns, list) and not (turns and isinstance(turns[0], int)):
            parts += [_text(turn) + b"\n" for turn in turns]
        elif turns is not None:
            parts.append(_text(turns))
    return b"".join(parts)


def _text(value: object) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else orjson.dumps(value)
