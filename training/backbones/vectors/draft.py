"""Word vectors -> a backbone in the making: table, graph, tokenizer, and what NumPy makes of examples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.backbone import GRAPH, Subwords, Tap, TextPreprocess
from models.errors import TooLarge
from training.backbones.draft import Draft
from training.backbones.forms import width
from training.backbones.vectors.graph import IDS, TAPS, averages, sif_weights
from training.backbones.vectors.table import Vectors, check_finite, relative, zipf
from training.backbones.vectors.tokenizer import tokenizer_json

MAX_TOKENS = 1024
HALF_ABOVE = 512 * 1024**2  # bytes of float32 above which the table is kept as float16
LARGEST = 2_000_000_000  # bytes; an ONNX file ends at 2 GiB
CHUNK = 65_536
Table = NDArray[np.float32] | NDArray[np.float16]


def draft_of(vectors: Vectors, counts: dict[str, int] | None = None) -> Draft:
    """The backbone of these vectors. Row 0 stands for unknown words: zeros, of weight 0. Raises TooLarge."""
    table = _table(vectors)
    weights = _weights(vectors, counts, len(table))
    subwords = _subwords(vectors)
    examples = _examples(len(table), subwords is not None)
    return Draft(
        files={
            GRAPH: averages(table, weights, subwords is not None),
            "tokenizer.json": tokenizer_json(vectors.words),
        },
        preprocess=TextPreprocess(max_tokens=MAX_TOKENS, subwords=subwords),
        input=IDS,
        taps=tuple(Tap(name=tap, dim=width(tap, table.shape[1]), depth=1) for tap in TAPS),
        parameters=table.size,
        examples=examples,
        expected=_expected(table, weights, examples),
    )


def _subwords(vectors: Vectors) -> Subwords | None:
    if vectors.ngrams is None:
        return None
    return Subwords(
        shortest=vectors.ngrams.shortest,
        longest=vectors.ngrams.longest,
        first=1 + len(vectors.words),
        buckets=len(vectors.ngrams.rows),
    )


def _table(vectors: Vectors) -> Table:
    """[1 + words + buckets, D]."""
    first = 1 + len(vectors.words)
    shape = (first + (len(vectors.ngrams.rows) if vectors.ngrams else 0), vectors.rows.shape[1])
    dtype = np.float32 if 4 * shape[0] * shape[1] <= HALF_ABOVE else np.float16
    if np.dtype(dtype).itemsize * shape[0] * shape[1] > LARGEST:
        message = "The vectors are larger than 2 GB: keep fewer words, or reduce their dimensions."
        raise TooLarge(message, param="weights")
    table = np.zeros(shape, dtype)
    with np.errstate(over="ignore"):  # what float16 cannot hold becomes infinite, and is refused as such
        table[1:first] = vectors.rows
        if vectors.ngrams:
            for start in range(0, len(vectors.ngrams.rows), CHUNK):
                end = min(start + CHUNK, len(vectors.ngrams.rows))
                table[first + start : first + end] = vectors.ngrams.rows[start:end]
    for start in range(0, len(table), CHUNK):
        check_finite(table[start : start + CHUNK], "table of vectors")
    return table


def _weights(vectors: Vectors, counts: dict[str, int] | None, rows: int) -> NDArray[np.float32]:
    """SIF weights [rows]. Words that nothing counted, and n-grams, are taken as very rare: weight 1."""
    if counts is not None:
        known = relative(vectors.words, counts)
    elif vectors.probabilities is not None:
        known = vectors.probabilities
    else:
        known = zipf(len(vectors.words), vectors.total)
    weights = np.ones(rows, np.float32)
    weights[0] = 0
    weights[1 : 1 + len(known)] = sif_weights(known)
    return weights


def _examples(rows: int, pieces: bool) -> list[NDArray[np.int64]]:
    """Random ids of texts of several lengths; with pieces, some words are of three."""
    draw = np.random.default_rng(0)
    texts = [draw.integers(0, rows, length) for length in (1, 3, 9, 30)]
    return [np.append(text, draw.integers(0, rows, 3) + 2 * rows) for text in texts] if pieces else texts


def _expected(
    table: Table, weights: NDArray[np.float32], examples: list[NDArray[np.int64]]
) -> dict[str, NDArray[np.float32]]:
    """What the graph must compute, in float64 [examples, width] a tap, returned as float32."""
    found = [_features(table, weights, ids) for ids in examples]
    return {tap: np.array(rows, np.float32) for tap, rows in zip(TAPS, zip(*found, strict=True), strict=True)}


def _features(
    table: Table, weights: NDArray[np.float32], ids: NDArray[np.int64]
) -> tuple[NDArray[np.float64], ...]:
    """The taps of one text; its sums are divided by 1 where it has no known word, as they are 0 anyway."""
    rows, others = ids % len(table), ids // len(table)
    vectors = table[rows].astype(np.float64)
    known = np.sign(weights[rows]) / (1 + others)
    count = float(known.sum()) or 1.0
    mean = known @ vectors / count
    deviation = np.sqrt(known @ (vectors - mean) ** 2 / count)
    return mean, np.concatenate([mean, deviation]), (weights[rows] / (1 + others)) @ vectors / count
