"""Tokens by id without a tokenizer: four bytes of text are one token, and back. What a model would think of them is
made up, the same for the same tokens.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import orjson

from engine.simulated.words import BYTES_PER_TOKEN

OPEN_ANSWER = '{"role":"assistant","content":"'
END_OF_TURN = '"}]'
LEAST_LOG_PROB = -8.0


def rendered(messages: list[dict[str, Any]], *, opens_answer: bool, continues: bool) -> str:
    """A conversation as one text, with an answer begun (`opens_answer`), or its last turn left open (`continues`)."""
    turns = [{"role": turn.get("role"), "content": turn.get("content")} for turn in messages]
    text = orjson.dumps(turns).decode()
    if continues:
        return text.removesuffix(END_OF_TURN)
    return f"{text[:-1]},{OPEN_ANSWER}" if opens_answer else text


def token_ids(text: str) -> list[int]:
    data = text.encode()
    return [int.from_bytes(data[at : at + BYTES_PER_TOKEN], "little") for at in range(0, len(data), BYTES_PER_TOKEN)]


def text_of(tokens: Sequence[int]) -> str:
    parts = [token.to_bytes(8, "little").rstrip(b"\0") for token in tokens]
    return b"".join(parts).decode("utf-8", "replace")


def standing_for(tokens: Sequence[int]) -> str:
    """A text of as many tokens that begins alike where they do."""
    return "".join(f"{token * 2654435761 >> 7 & 0xFFFF:04x}" for token in tokens)


def log_prob(before: Sequence[int], token: int) -> float:
    """Natural logarithm, made up, of `token` after the last of those `before` it."""
    key = orjson.dumps([*before[-BYTES_PER_TOKEN:], token])
    share = int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "little") / 2**32
    return math.log(1e-9 + share) + LEAST_LOG_PROB / 2
