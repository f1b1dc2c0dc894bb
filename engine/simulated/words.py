"""Text without a model: deterministic words from a prompt, one word a token."""

import hashlib

BYTES_PER_TOKEN = 4
WORDS = tuple(
    "the gluon binds three quarks into one hadron while colour stays hidden and energy flows between nodes as tokens "  # noqa: SIM905
    "leave each replica in order under load with room for every stream that waits its turn".split()
)


def count_tokens(text: str) -> int:
    """A token for every four bytes, at least one."""
    return max(1, -(-len(text.encode()) // BYTES_PER_TOKEN))


def block_hashes(text: str, block_tokens: int) -> tuple[int, ...]:
    """A hash for each full block of tokens, over everything up to its end."""
    data, size = text.encode(), block_tokens * BYTES_PER_TOKEN
    digest, hashes = hashlib.blake2b(digest_size=8), []
    for start in range(0, len(data) - size + 1, size):
        digest.update(data[start : start + size])
        hashes.append(int.from_bytes(digest.digest(), "big"))
    return tuple(hashes)


def tokens_of(prompt: str, seed: int, count: int) -> list[str]:
    """`count` words, the same for the same prompt and seed."""
    state = int.from_bytes(hashlib.blake2b(f"{seed}\0{prompt}".encode(), digest_size=8).digest(), "big")
    words = []
    for _ in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        words.append(" " + WORDS[(state >> 33) % len(WORDS)])
    return words
