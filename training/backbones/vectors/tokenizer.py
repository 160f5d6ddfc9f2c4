"""The tokenizer of a vocabulary: words and punctuation marks as they stand in the text."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from training.backbones.vectors.table import UNKNOWN


def tokenizer_json(words: Sequence[str]) -> bytes:
    """`tokenizer.json`: NFC, lower-cased where the whole vocabulary is; word i has the id i + 1."""
    ids = {UNKNOWN: 0} | {word: index for index, word in enumerate(words, 1)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    lower = all(word == word.lower() for word in words)
    steps = [normalizers.NFC(), *([normalizers.Lowercase()] if lower else [])]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer.to_str().encode()
