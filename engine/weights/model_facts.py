"""What a model's own files say about its size, read without loading it."""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

DTYPE_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "int8": 1}
_SAFETENSORS_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1, "I8": 1, "U8": 1}


class ModelFactsError(Exception):
    """The folder's config.json or weights do not describe a transformer this can size."""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """Dimensions from config.json. `weights_bytes` is at the stored precision, `parameters` counts elements."""

    architecture: str
    num_layers: int
    num_attention_heads: int
    num_kv_heads: int
    head_dim: int
    hidden_size: int
    vocab_size: int
    max_position_embeddings: int
    dtype: str
    weights_bytes: int
    parameters: int

    def kv_bytes_per_token(self, kv_dtype_bytes: int = 2, tensor_parallel_size: int = 1) -> int:
        """Keys and values of one token over all layers, in bytes on one rank.

        With more ranks than KV heads each rank keeps a whole head, so heads are replicated.
        """
        heads = max(1, self.num_kv_heads // tensor_parallel_size)
        return 2 * self.num_layers * heads * self.head_dim * kv_dtype_bytes

    def valid_tensor_parallel_sizes(self, largest: int = 64) -> list[int]:
        """Degrees that divide the attention heads and either divide the KV heads or are a multiple of them."""
        return [
            degree
            for degree in range(1, min(largest, self.num_attention_heads) + 1)
            if self.num_attention_heads % degree == 0
            and (self.num_kv_heads % degree == 0 or degree % self.num_kv_heads == 0)
        ]


def read_model_facts(folder: Path) -> ModelFacts:
    """Read config.json and the headers of the safetensors files, if there are any.

    Raises:
        ModelFactsError: config.json is absent or lacks a dimension, or a safetensors header cannot be read.
    """
    try:
        config = orjson.loads((folder / "config.json").read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ModelFactsError(f"{folder / 'config.json'} cannot be read: {error}") from error
    text = config.get("text_config", config)
    try:
        heads = int(text["num_attention_heads"])
        hidden = int(text["hidden_size"])
        dtype = str(text.get("dtype") or text.get("torch_dtype") or config.get("dtype") or "bfloat16")
        sizes = [_safetensors_size(path) for path in sorted(folder.glob("*.safetensors"))]
        parameters = sum(count for count, _ in sizes) or _estimated_parameters(text)
        return ModelFacts(
            architecture=(config.get("architectures") or [config.get("model_type", "unknown")])[0],
            num_layers=int(text["num_hidden_layers"]),
            num_attention_heads=heads,
            num_kv_heads=int(text.get("num_key_value_heads") or heads),
            head_dim=int(text.get("head_dim") or hidden // heads),
            hidden_size=hidden,
            vocab_size=int(text["vocab_size"]),
            max_position_embeddings=int(text["max_position_embeddings"]),
            dtype=dtype,
            weights_bytes=sum(size for _, size in sizes) or parameters * DTYPE_BYTES.get(dtype, 2),
            parameters=parameters,
        )
    except KeyError as error:
        raise ModelFactsError(f"{folder / 'config.json'} lacks {error}: not a decoder this can size") from error


def _safetensors_size(path: Path) -> tuple[int, int]:
    """Elements and bytes, from the header alone (format: 8-byte little-endian length, then JSON)."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError(f"it is said to be {length} bytes long")
            header: dict[str, Any] = orjson.loads(file.read(length))
    except (OSError, struct.error, ValueError) as error:
        raise ModelFactsError(f"{path} has no readable safetensors header: {error}") from error
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    elements = [(_product(entry["shape"]), _SAFETENSORS_BYTES.get(entry["dtype"], 2)) for entry in tensors]
    return sum(count for count, _ in elements), sum(count * size for count, size in elements)


def _product(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def _estimated_parameters(text: dict[str, Any]) -> int:
    """Embeddings, attention and a gated MLP (times experts) of a Llama-like decoder; norms are left out."""
    hidden, layers = int(text["hidden_size"]), int(text["num_hidden_layers"])
    heads = int(text["num_attention_heads"])
    head_dim = int(text.get("head_dim") or hidden // heads)
    kv_heads = int(text.get("num_key_value_heads") or heads)
    experts = int(text.get("num_local_experts") or text.get("num_experts") or 1)
    width = int(text.get("moe_intermediate_size") or text["intermediate_size"])
    attention = 2 * hidden * heads * head_dim + 2 * hidden * kv_heads * head_dim
    embeddings = int(text["vocab_size"]) * hidden * (1 if text.get("tie_word_embeddings") else 2)
    return embeddings + layers * (attention + 3 * hidden * width * experts)
