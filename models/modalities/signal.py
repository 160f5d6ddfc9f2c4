"""1-D signals: float32 values on the reference grid of their dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import BackboneCard, SignalPreprocess
from models.base import ModalityName
from models.errors import CorruptArtefact, TooLarge
from models.manifest import InputSpec, SignalGrid
from models.modalities.base import Empty, Feeds, Prepared, stacked
from models.modalities.faults import fault

MIN_VALUES = 1
MAX_VALUES = 1_000_000
Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Series:
    """A checked signal: finite `values` [n], and strictly rising `grid` [n] where one was given."""

    values: Vector
    grid: Vector | None = None


class SignalModality:
    """A list of numbers, `{"grid": [...], "values": [...]}`, a 1-D array, or a `Series`."""

    name: ModalityName = "signal"

    def canonical(self, value: object, spec: InputSpec, where: str) -> bytes:
        """Little-endian float32 on `spec.grid` (on the signal's own range and length where that is None).

        Raises InvalidInput: `bad_signal` (type, shape, grid order), `non_finite`, `signal_length`,
        `grid_coverage`; TooLarge above a million values.
        """
        series = parse(value, where)
        grid = spec.grid or reference_grid([(where, series)])
        with np.errstate(over="ignore"):
            data = _on_grid(series, grid, where).astype("<f4")
        if not np.isfinite(data).all():
            raise _non_finite(where)
        return data.tobytes()

    content = canonical

    def preprocessor(self, card: BackboneCard, files: Mapping[str, bytes]) -> SignalPreprocessor:
        if not isinstance(card.preprocess, SignalPreprocess):
            raise CorruptArtefact("The signal backbone's card describes no signal preprocessing.")
        return SignalPreprocessor(card.preprocess.points, card.input)


def parse(value: object, where: str) -> Series:
    """Check one signal as it was sent. Raises InvalidInput and TooLarge as `SignalModality.canonical`."""
    if isinstance(value, Series):
        return value
    if not isinstance(value, dict):
        return Series(_numbers(value, where))
    if set(value) != {"grid", "values"}:
        raise fault(where, 'a signal object has exactly the fields "grid" and "values".', "bad_signal")
    values, grid = _numbers(value["values"], where), _numbers(value["grid"], where)
    return _gridded(values, grid, where)


def _gridded(values: Vector, grid: Vector, where: str) -> Series:
    """A signal on its own strictly rising or falling grid; a falling one is turned round."""
    if len(values) != len(grid):
        raise fault(
            where, f"the grid has {len(grid)} points but there are {len(values)} values.", "bad_signal"
        )
    if grid[0] > grid[-1]:
        values, grid = values[::-1], grid[::-1]
    if not (np.diff(grid) > 0).all():
        raise fault(
            where, "the grid must rise or fall strictly. Sort it and drop repeated points.", "bad_signal"
        )
    return Series(values, grid)


def _numbers(value: object, where: str) -> Vector:
    vector = _cast(value, where)
    if len(vector) < MIN_VALUES:
        raise fault(where, "a signal has at least one value.", "bad_signal")
    if len(vector) > MAX_VALUES:
        raise fault(where, "the signal has over 1,000,000 values. Resample it.", "too_large", TooLarge)
    if not np.isfinite(vector).all():
        raise _non_finite(where)
    return vector


def _cast(value: Any, where: str) -> Vector:
    if isinstance(value, np.ndarray):
        numeric = value.ndim == 1 and value.dtype.kind in "iuf"
    else:
        numeric = isinstance(value, (list, tuple)) and set(map(type, value)) <= {int, float}
    if not numeric:
        raise fault(where, "a signal is a flat list of numbers, no strings or booleans.", "bad_signal")
    try:
        return np.asarray(value, np.float64)
    except OverflowError:
        raise _non_finite(where) from None


def _non_finite(where: str) -> Exception:
    return fault(
        where,
        "the signal holds NaN, infinity or a number beyond float32. Repair or drop it.",
        "non_finite",
    )


def _on_grid(series: Series, grid: SignalGrid, where: str) -> Vector:
    """The values at the reference points, by linear interpolation (ends held constant)."""
    if series.grid is None:
        if len(series.values) != grid.length:
            raise fault(
                where,
                f"expected {grid.length} values, got {len(series.values)}. Send a signal of another length "
                'with its grid, as {"grid": [...], "values": [...]}.',
                "signal_length",
            )
        return series.values
    step = (grid.hi - grid.lo) / max(1, grid.length - 1)
    if series.grid[0] > grid.lo + step or series.grid[-1] < grid.hi - step:
        raise fault(
            where,
            f"the grid runs from {series.grid[0]:g} to {series.grid[-1]:g} and must cover "
            f"{grid.lo:g} to {grid.hi:g}.",
            "grid_coverage",
        )
    return np.interp(np.linspace(grid.lo, grid.hi, grid.length), series.grid, series.values)


def reference_grid(rows: Iterable[tuple[str, object]]) -> SignalGrid:
    """The grid of a new dataset from `(where, signal)` of its rows.

    Without grids: the index, and all lengths must agree. With grids: the range that all share, at the
    median length. Raises InvalidInput `signal_length`, `grid_coverage` or `mixed_grids`, naming the row.
    """
    series = [(where, parse(value, where)) for where, value in rows]
    first, model = series[0]
    for where, one in series:
        if (one.grid is None) != (model.grid is None):
            raise fault(
                where, f"give a grid for every signal or for none ({first} differs from this).", "mixed_grids"
            )
    return _index_grid(series) if model.grid is None else _shared_grid(series)


def _index_grid(series: Sequence[tuple[str, Series]]) -> SignalGrid:
    first, length = series[0][0], len(series[0][1].values)
    for where, one in series:
        if len(one.values) != length:
            raise fault(
                where,
                f"the signal has {len(one.values)} values but {first} has {length}. Send signals of "
                'different lengths with their grids, as {"grid": [...], "values": [...]}.',
                "signal_length",
            )
    return SignalGrid(length=length, lo=0.0, hi=float(length - 1))


def _shared_grid(series: Sequence[tuple[str, Series]]) -> SignalGrid:
    ends = [(where, float(s.grid[0]), float(s.grid[-1])) for where, s in series if s.grid is not None]
    latest, earliest = max(ends, key=lambda e: e[1]), min(ends, key=lambda e: e[2])
    if latest[1] >= earliest[2]:
        raise fault(
            latest[0],
            f"the grid starts at {latest[1]:g}, where that of {earliest[0]} has ended. All grids of a "
            "dataset must overlap.",
            "grid_coverage",
        )
    length = median_low(len(s.values) for _, s in series)
    return SignalGrid(length=length, lo=latest[1], hi=earliest[2])


class SignalPreprocessor:
    """`points` float32 values, linearly resampled from end to end."""

    def __init__(self, points: int, input_name: str) -> None:
        self._points = points
        self._input = input_name

    def prepare(self, content: bytes, where: str = "input") -> Prepared:
        values = np.frombuffer(content, "<f4")
        if len(values) == self._points:
            return values.astype(np.float32)
        at = np.linspace(0, len(values) - 1, self._points)
        resampled: Prepared = np.interp(at, np.arange(len(values)), values).astype(np.float32)
        return resampled

    def size(self, prepared: Prepared) -> int:
        return 1

    def collate(self, batch: Sequence[Prepared], empty: Empty = np.empty) -> Feeds:
        return {self._input: stacked(batch, empty)}


MODALITY = SignalModality()
