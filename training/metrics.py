"""Plain numbers about predictions. Nothing here fits anything."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

Array = NDArray[Any]
_DRAWS = 1000


def jeffreys(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Jeffreys interval of a proportion: quantiles of Beta(s + 1/2, n - s + 1/2) (Brown et al. 2001)."""
    tail = (1 - level) / 2
    a, b = successes + 0.5, trials - successes + 0.5
    low = 0.0 if successes <= 0 else float(betaincinv(a, b, tail))
    high = 1.0 if successes >= trials else float(betaincinv(a, b, 1 - tail))
    return low, high


def bootstrap(statistic: Any, n: int, size: int, seed: int, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of `statistic(rows)` over draws of `size` of n rows, with replacement."""
    rng = np.random.default_rng(seed)
    draws = [statistic(rng.integers(0, n, size)) for _ in range(_DRAWS)]
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def confusion(truth: Array, predicted: Array, classes: int) -> NDArray[np.int64]:
    """int64 [C, C]: counts by [true class, predicted class]."""
    flat = np.bincount(truth * classes + predicted, minlength=classes * classes)
    return flat.reshape(classes, classes)


def ratio(part: Array, whole: Array) -> NDArray[np.float64]:
    """part / whole, nan where the whole is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(whole > 0, part / whole, np.nan))


def f1_scores(hits: Array, predicted: Array, actual: Array) -> NDArray[np.float64]:
    """2 TP / (predicted + actual) a class; 0 where neither ever occurs."""
    return np.asarray(2 * hits / np.maximum(predicted + actual, 1))


def regression_metrics(truth: Array, predicted: Array) -> dict[str, float]:
    """rmse, mae and (where the truth varies) r2 of [n, K] values."""
    errors = predicted - truth
    found = {"rmse": float(np.sqrt((errors**2).mean())), "mae": float(np.abs(errors).mean())}
    spread = float(((truth - truth.mean(axis=0)) ** 2).sum())
    if spread > 0:
        found["r2"] = 1 - float((errors**2).sum()) / spread
    return found


def multilabel_metrics(truth: Array, probabilities: Array) -> dict[str, float]:
    """micro_f1, macro_f1 and subset_accuracy of [n, C] at the threshold one half."""
    actual, predicted = truth > 0.5, probabilities > 0.5
    hits = (actual & predicted).sum(axis=0)
    return {
        "micro_f1": float(2 * hits.sum() / max(actual.sum() + predicted.sum(), 1)),
        "macro_f1": float(f1_scores(hits, predicted.sum(axis=0), actual.sum(axis=0)).mean()),
        "subset_accuracy": float((actual == predicted).all(axis=1).mean()),
    }


def reliability(confidence: Array, correct: Array, bins: int = 10) -> list[tuple[int, int, float, float]]:
    """(bin, count, mean confidence, share correct) of each filled bin of equal width (Guo et al. 2017)."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    filled = [(int(b), place == b) for b in np.unique(place)]
    return [
        (b, int(rows.sum()), float(confidence[rows].mean()), float(correct[rows].mean()))
        for b, rows in filled
    ]


def calibration_error(table: list[tuple[int, int, float, float]]) -> float:
    """Expected calibration error: mean over examples of |confidence - share correct| of their bin."""
    total = sum(count for _, count, _, _ in table)
    return sum(count * abs(confidence - right) for _, count, confidence, right in table) / max(total, 1)


def conformal_half_width(residuals: Array, level: float = 0.95) -> float:
    """The ceil(level (n + 1))-th smallest absolute residual, at most the largest (split conformal)."""
    ordered = np.sort(np.abs(residuals))
    rank = int(np.ceil(level * (len(ordered) + 1)))
    return float(ordered[min(rank, len(ordered)) - 1])
