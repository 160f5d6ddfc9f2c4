"""The head of a basis expansion: an ordinary ONNX graph from a tap that holds a few numbers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from models.manifest import Head as HeadRecord
from training.frame import Frame
from training.heads import Activation, Scores, all_finite, build_graph
from training.signals.bases import Basis

Array = NDArray[np.float64]


def reader(inputs: int, points: int) -> Array:
    """The matrix [points, inputs] that undoes linear resampling of `inputs` values to `points`, end to end.

    Each value is read where it was sampled, or from the two samples before it on its own straight piece.
    Raises ValueError when there are more values than samples can hold.
    """
    if 2 * inputs > points:
        raise ValueError("More values than the samples can hold.")
    at = np.linspace(0, inputs - 1, points)
    found = np.zeros((points, inputs))
    for value in range(inputs):
        nearest = int(np.abs(at - value).argmin())
        if inputs == 1 or np.isclose(at[nearest], value, atol=1e-12):
            found[nearest if inputs > 1 else 0, value] = 1
            continue
        second = int(np.flatnonzero(at < value)[-1])
        share = (value - at[second]) / (at[second] - at[second - 1])
        found[second, value], found[second - 1, value] = 1 + share, -share
    return found


@dataclass(frozen=True, eq=False)
class BasisHead:
    """basis.design(features @ reader + shift) @ coefficients.

    `reader` [D, d], `shift` [d], `coefficients` [M, K].
    """

    basis: Basis
    coefficients: Array
    reader: Array
    shift: Array
    activation: Activation = "identity"

    def logits(self, X: NDArray[Any]) -> Scores:
        inputs = np.asarray(X, np.float64) @ self.reader + self.shift
        return np.asarray(self.basis.design(inputs) @ self.coefficients)

    def scaled(self, factor: float) -> BasisHead:
        return replace(self, coefficients=self.coefficients * factor)

    def lifted(self, frame: Frame) -> BasisHead:
        reader = frame.lift(self.reader.T).T / frame.scale
        return replace(self, reader=reader, shift=self.shift - frame.mean @ reader)

    def finite(self) -> bool:
        basis = self.basis
        return all_finite(self.reader, self.shift, basis.slopes, *self._output())

    def record(self) -> HeadRecord:
        dim, width = len(self.reader), self.coefficients.shape[1]
        return HeadRecord(kind="graph", activation=self.activation, in_dim=dim, out_dim=width)

    def _output(self) -> tuple[Array, Array]:
        """Weight [P, K] and bias [K] on the elementwise functions."""
        return self.basis.mixing @ self.coefficients, self.basis.constant @ self.coefficients

    def to_onnx(self) -> bytes:
        basis = self.basis
        weight, bias = self._output()
        constants = {
            "reader": self.reader,
            "shift": self.shift,
            "low": basis.low,
            "high": basis.high,
            "origin": basis.origin,
            "slopes": basis.slopes,
            "offsets": basis.offsets,
            "weight": weight,
            "bias": bias,
        }
        wave, more = _ELEMENTWISE[basis.kind]
        return build_graph(
            [*_entering(), *wave, _node("Gemm", "f", "weight", "bias", out="logits")],
            constants | more,
            self.record(),
        )


def _node(kind: str, *inputs: str, out: str) -> Any:
    return helper.make_node(kind, list(inputs), [out])


def _entering() -> list[Any]:
    """Features -> `z`, what the elementwise function takes."""
    return [
        _node("Gemm", "features", "reader", "shift", out="x"),
        _node("Max", "x", "low", out="raised"),
        _node("Min", "raised", "high", out="clipped"),
        _node("Sub", "clipped", "origin", out="u"),
        _node("Gemm", "u", "slopes", "offsets", out="z"),
    ]


def _ramp(reach: str) -> list[Any]:
    """max(0, reach - |z|) as `ramp_reach`."""
    return [
        _node("Sub", reach, "far", out=f"left_{reach}"),
        _node("Relu", f"left_{reach}", out=f"ramp_{reach}"),
    ]


def _cube(name: str) -> list[Any]:
    return [_node("Mul", name, name, out=f"{name}_2"), _node("Mul", f"{name}_2", name, out=f"{name}_3")]


_FAR = _node("Abs", "z", out="far")
_ELEMENTWISE: dict[str, tuple[list[Any], dict[str, NDArray[Any]]]] = {
    "sine": ([_node("Sin", "z", out="f")], {}),
    "hat": ([_FAR, *_ramp("one"), _node("Identity", "ramp_one", out="f")], {"one": np.ones(1)}),
    "bump": (
        [
            _FAR,
            *_ramp("one"),
            *_ramp("two"),
            *_cube("ramp_one"),
            *_cube("ramp_two"),
            _node("Mul", "ramp_one_3", "four_sixths", out="inner"),
            _node("Mul", "ramp_two_3", "sixth", out="outer"),
            _node("Sub", "outer", "inner", out="f"),
        ],
        {
            "one": np.ones(1),
            "two": np.full(1, 2.0),
            "four_sixths": np.full(1, 4 / 6),
            "sixth": np.full(1, 1 / 6),
        },
    ),
}
