"""Text: the exact string in UTF-8, and its token ids."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from itertools import accumulate, chain, pairwise
from typing import Any

import numpy as np

from models.backbone import BackboneCard, Subwords, TextPreprocess
from models.base import ModalityName
from models.errors import CorruptArtefact, DurianError, TooLarge
from models.manifest import InputSpec
from models.modalities.base import Empty, Feeds, Prepared
from models.modalities.faults import fault
from models.modalities.subwords import expand

MAX_BYTES = 100_000


class TextModality:
    """Strings, or the UTF-8 bytes of one."""

    name: ModalityName = "text"

    def canonical(self, value: object, spec: InputSpec, where: str) -> bytes:
        """The string in UTF-8, unchanged. Raises InvalidInput `bad_text`; TooLarge above 100 KB."""
        text = _string(value, where)
        if not text.strip():
            raise fault(where, "the text is empty. Give at least one word, or leave the row out.", "bad_text")
        if "\0" in text:
            raise fault(where, "the text holds a NUL character. Remove it.", "bad_text")
        data = _encode(text, where)
        if len(data) > MAX_BYTES:
            raise fault(where, "the text is longer than 100 KB. Split or shorten it.", "too_large", TooLarge)
        return data

    content = canonical

    def preprocessor(self, card: BackboneCard, files: Mapping[str, bytes]) -> TextPreprocessor:
        how = card.preprocess
        if not isinstance(how, TextPreprocess) or how.tokenizer not in files:
            raise CorruptArtefact("The text backbone lacks its tokenizer.")
        return TextPreprocessor(files[how.tokenizer], how.max_tokens, card.input, how.subwords)


def _string(value: object, where: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise fault(where, "the text is not UTF-8. Save it as UTF-8.", "bad_text") from None
    raise fault(where, "the input is not a string. Text examples are strings.", "bad_text")


def _encode(text: str, where: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise fault(
            where, "the text holds half of a surrogate pair, which is no character. Remove it.", "bad_text"
        ) from None


class TextPreprocessor:
    """Token ids int64 [L], L <= `max_tokens`, special tokens included."""

    def __init__(
        self,
        tokenizer_json: bytes,
        max_tokens: int,
        input_name: str = "input_ids",
        subwords: Subwords | None = None,
    ) -> None:
        self._tokenizer = _load(tokenizer_json)
        padding: dict[str, Any] = self._tokenizer.padding or {}
        self._pad = int(padding.get("pad_id", 0))
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._input = input_name
        self._most = max_tokens
        self._subwords = subwords

    def prepare(self, content: bytes, where: str = "input") -> Prepared:
        """Raises InvalidInput when the tokenizer finds no token in the text."""
        text = content.decode()
        ids = self._ids(text, self._tokenizer.encode(text))
        if not ids:
            raise _nothing_known(where)
        return np.array(ids, np.int64)

    def prepare_many(
        self, contents: Sequence[bytes], places: Sequence[str]
    ) -> Sequence[Prepared | DurianError]:
        """`prepare` of each, or what is wrong with it; the tokenizer lets other threads run meanwhile."""
        texts = [content.decode() for content in contents]
        encode = self._tokenizer.encode_batch_fast if self._subwords is None else self._tokenizer.encode_batch
        rows = _rows(list(map(self._ids, texts, encode(texts))))
        return [ids if len(ids) else _nothing_known(where) for ids, where in zip(rows, places, strict=True)]

    def _ids(self, text: str, found: Any) -> list[int]:
        if self._subwords is None:
            ids: list[int] = found.ids
            return ids
        spellings = (self._normalise(text[start:end]) for start, end in found.offsets)
        return expand(zip(found.ids, spellings, strict=True), self._subwords, self._most)

    def _normalise(self, word: str) -> str:
        normalizer = self._tokenizer.normalizer
        return normalizer.normalize_str(word) if normalizer else word

    def size(self, prepared: Prepared) -> int:
        return len(prepared)

    def collate(self, batch: Sequence[Prepared], empty: Empty = np.empty) -> Feeds:
        """`input_ids` and `attention_mask`, int64 [N, longest]."""
        lengths = np.fromiter(map(len, batch), np.int64, len(batch))
        mask = np.arange(lengths.max()) < lengths[:, None]
        ids, seen = empty(mask.shape, np.int64), empty(mask.shape, np.int64)
        ids[...], seen[...] = self._pad, mask
        ids[mask] = np.concatenate(batch)
        return {self._input: ids, "attention_mask": seen}


def _rows(ids: Sequence[Sequence[int]]) -> list[Prepared]:
    """Each as int64 [L]: views of one array, which is made in a third of the time that one each takes."""
    flat = np.fromiter(chain.from_iterable(ids), np.int64)
    return [flat[start:end] for start, end in pairwise(accumulate(map(len, ids), initial=0))]


def _nothing_known(where: str) -> DurianError:
    return fault(where, "the backbone's vocabulary knows nothing in this text.", "bad_text")


def _load(tokenizer_json: bytes) -> Any:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # callers have threads enough of their own
    from tokenizers import Tokenizer

    try:
        return Tokenizer.from_str(tokenizer_json.decode())
    except Exception:  # the library raises plain Exception for any malformed file
        raise CorruptArtefact("The backbone's tokenizer cannot be read.") from None


MODALITY = TextModality()
