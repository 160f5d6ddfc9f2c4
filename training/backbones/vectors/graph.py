"""Averages of word vectors as an ONNX graph: `input_ids`, `attention_mask` [N, L] -> `mean`, `sif` [N, D].

`sif` is (1 / |s|) sum a / (a + p(w)) v_w over the known words of s (Arora, Liang & Ma 2017). Their
second step, the removal of the first principal component of the sentences at hand, is left out: it depends
on the other sentences, which one answer must not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.backbones.graph import FLOAT, INT64, Dims, GraphWriter

A = 1e-3
FEW = 1e-6
IDS, MASK = "input_ids", "attention_mask"
TAPS = ("mean", "sif")


def sif_weights(probabilities: NDArray[np.float64]) -> NDArray[np.float32]:
    """a / (a + p)."""
    return (A / (A + probabilities)).astype(np.float32)


def averages(table: NDArray[np.floating], weights: NDArray[np.float32], pieces: bool) -> bytes:
    """The graph over `table` [R, D] and the SIF weights [R] of its rows, 0 for those that do not count.

    With `pieces`, an id of R or more stands for one of several pieces of a word: row + (n - 1) R.
    """
    g = GraphWriter()
    row, share = IDS, g.node("Cast", MASK, to=FLOAT)
    if pieces:
        row, share = _split(g, share, len(table))
    vectors = g.node("Gather", g.constant("vectors", table), row)
    if table.dtype != np.float32:
        vectors = g.node("Cast", vectors, to=FLOAT)
    known = _weigh(g, "known", (weights > 0).astype(np.float32), row, share)
    count = g.node("Max", g.node("ReduceSum", known, g.ints(1), keepdims=1), g.scalar(FEW))
    for tap, weight in zip(TAPS, (known, _weigh(g, "sif_weights", weights, row, share)), strict=True):
        total = g.node("MatMul", g.node("Unsqueeze", weight, g.ints(1)), vectors)
        g.node("Div", g.node("Squeeze", total, g.ints(1)), count, out=tap)
    dims: Dims = ("N", table.shape[1])
    inputs: dict[str, tuple[int, Dims]] = {IDS: (INT64, ("N", "L")), MASK: (INT64, ("N", "L"))}
    return g.to_bytes("vectors", inputs, dict.fromkeys(TAPS, dims))


def _split(g: GraphWriter, present: str, rows: int) -> tuple[str, str]:
    """Row of each id, and its share of a word: 1 / n."""
    others = g.node("Cast", g.node("Div", IDS, g.ints(rows)), to=FLOAT)
    share = g.node("Div", present, g.node("Add", others, g.scalar(1.0)))
    return g.node("Mod", IDS, g.ints(rows)), share


def _weigh(g: GraphWriter, name: str, weights: NDArray[np.float32], row: str, share: str) -> str:
    return g.node("Mul", g.node("Gather", g.constant(name, weights), row), share)
