"""Averages of word vectors as an ONNX graph: `input_ids`, `attention_mask` [N, L] -> the taps.

`mean` [N, D] is the average of the known words' vectors, `mean_stat` [N, 2D] adds their standard deviation.

`sif` [N, D] is (1 / |s|) sum a / (a + p(w)) v_w over the known words of s (Arora, Liang & Ma 2017). Their
second step, the removal of the first principal component of the sentences at hand, is left out: it depends
on the other sentences, which one answer must not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.backbones.forms import stat, width
from training.backbones.graph import FLOAT, INT64, Dims, GraphWriter

A = 1e-3
FEW = 1e-6
IDS, MASK = "input_ids", "attention_mask"
TAPS = ("mean", stat("mean"), "sif")


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
    mean = _average(g, known, vectors, count, out="mean")
    centred = g.node("Sub", vectors, g.node("Unsqueeze", mean, g.ints(1)))
    variance = _average(g, known, g.node("Mul", centred, centred), count)
    g.node("Concat", mean, g.node("Sqrt", variance), axis=1, out=stat("mean"))
    _average(g, _weigh(g, "sif_weights", weights, row, share), vectors, count, out="sif")
    outputs: dict[str, Dims] = {tap: ("N", width(tap, table.shape[1])) for tap in TAPS}
    inputs: dict[str, tuple[int, Dims]] = {IDS: (INT64, ("N", "L")), MASK: (INT64, ("N", "L"))}
    return g.to_bytes("vectors", inputs, outputs)


def _average(g: GraphWriter, weight: str, vectors: str, count: str, out: str | None = None) -> str:
    """Weights [N, L] times vectors [N, L, D], over the count [N, 1]: [N, D]."""
    total = g.node("MatMul", g.node("Unsqueeze", weight, g.ints(1)), vectors)
    return g.node("Div", g.node("Squeeze", total, g.ints(1)), count, out=out)


def _split(g: GraphWriter, present: str, rows: int) -> tuple[str, str]:
    """Row of each id, and its share of a word: 1 / n."""
    others = g.node("Cast", g.node("Div", IDS, g.ints(rows)), to=FLOAT)
    share = g.node("Div", present, g.node("Add", others, g.scalar(1.0)))
    return g.node("Mod", IDS, g.ints(rows)), share


def _weigh(g: GraphWriter, name: str, weights: NDArray[np.float32], row: str, share: str) -> str:
    return g.node("Mul", g.node("Gather", g.constant(name, weights), row), share)
