"""`python -m engine.weights.convert_gguf GGUF OUT [SHAPE]`: a GGUF file becomes safetensors and a tokenizer.

Run as a process of its own: it is the one place of ours that imports torch, and killing it must lose nothing.
With SHAPE (a JSON object of Llama dimensions) the weights are random, seed 0, and only the tokenizer is the file's.
"""

import json
import sys
from pathlib import Path
from typing import Any

SEED = 0


def convert(gguf: Path, out: Path, shape: dict[str, int] | None) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, LlamaConfig, LlamaForCausalLM

    model: Any
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    if shape is None:
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
        )
    else:
        torch.manual_seed(SEED)
        special = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        config = LlamaConfig(vocab_size=len(tokenizer), tie_word_embeddings=True)
        config.update({**special, **shape})
        model = LlamaForCausalLM(config)  # type: ignore[no-untyped-call]
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3]) if len(sys.argv) > 3 else None)
