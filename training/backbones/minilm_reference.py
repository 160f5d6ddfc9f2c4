"""How the reference of text/minilm-l6 was recorded: the original model, run by transformers and torch.

`python -m training.backbones record` writes it anew. Only this needs torch.
"""

from __future__ import annotations

import io
import random
from collections.abc import Sequence

import numpy as np
import orjson
from numpy.typing import NDArray

from models.store import write_file
from training.backbones.minilm import REFERENCE, TOKENIZER, model_folder

LENGTHS = [1 + round(i * 127 / 63) for i in range(64)]
"""Tokens of the 64 reference texts, special ones not counted: from 1 to 128."""


def reference_texts() -> list[str]:
    """Texts of known token counts: whole words of the vocabulary, some capitalised, and commas."""
    vocabulary = orjson.loads((model_folder() / TOKENIZER).read_bytes())["model"]["vocab"]
    words = sorted(word for word in vocabulary if word.isascii() and word.isalpha() and len(word) > 1)
    draw = random.Random(0)  # noqa: S311 (not a secret)

    def token(place: int) -> str:
        word = words[int(draw.random() * len(words))]
        return "," if place % 9 == 8 else word.title() if place % 5 == 0 else word

    return [" ".join(map(token, range(length))) for length in LENGTHS]


def original(texts: Sequence[str]) -> NDArray[np.float32]:
    """Embeddings of the original model [len(texts), 384], one text at a time, so without padding."""
    import torch
    from transformers import AutoTokenizer, BertModel

    tokenizer = AutoTokenizer.from_pretrained(model_folder())
    model = BertModel.from_pretrained(model_folder()).eval()

    def embed(text: str) -> torch.Tensor:
        tokens = tokenizer(text, return_tensors="pt", truncation=True, max_length=256)
        mean = model(**tokens).last_hidden_state.mean(dim=1)
        return torch.nn.functional.normalize(mean, dim=1)

    with torch.inference_mode():
        return np.concatenate([embed(text).numpy() for text in texts])


def record() -> None:
    """Write the reference file."""
    texts = reference_texts()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer, texts=np.frombuffer(orjson.dumps(texts), np.uint8), embeddings=original(texts)
    )
    write_file(REFERENCE, buffer.getvalue())
