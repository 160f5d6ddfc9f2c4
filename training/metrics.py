"""Plain numbers about predictions. Nothing here fits anything."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv, stdtrit

Array = NDArray[Any]
_NORMAL, _PRIOR_ROWS = 2.0, 10
_CLUSTERED_ROWS = 4


def jeffreys(successes: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Jeffreys interval of a proportion: quantiles of Beta(s + 1/2, n - s + 1/2) (Brown et al. 2001)."""
    tail = (1 - level) / 2
    a, b = successes + 0.5, trials - successes + 0.5
    low = 0.0 if successes <= 0 else float(betaincinv(a, b, tail))
    high = 1.0 if successes >= trials else float(betaincinv(a, b, 1 - tail))
    return low, high


def rmse_interval(squared: Array, trials: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of the root of the mean of squared errors [n], as if there had been `trials` of them.

    The logarithm of a mean square is about normal with variance (mean square of its relative deviations)
    / trials (the delta method). Few errors tell little of their own spread, so it is drawn towards that of
    normal errors, 2, as by ten more; Student's quantile at two degrees less than trials.
    """
    mean, free = float(squared.mean()), max(trials - 1, 1.0)
    if mean == 0:
        return 0.0, 0.0
    relative = float(((squared / mean - 1) ** 2).sum())
    variance = (relative + _NORMAL * _PRIOR_ROWS) / (len(squared) - 1 + _PRIOR_ROWS) / free
    reach = float(stdtrit(max(free - 1, 1.0), (1 + level) / 2)) * math.sqrt(variance) / 2
    return math.sqrt(mean) * math.exp(-reach), math.sqrt(mean) * math.exp(reach)


def f1_interval(hits: Array, claims: Array, share: float, level: float = 0.95) -> tuple[float, float]:
    """Interval of micro-F1 = sum of 2 hits / sum of claims, both [n] by row, at a `share` of the evidence.

    F1 is a proportion of claims, but the claims of a row stand or fall together. How many independent ones
    they are worth follows from the variance of a ratio of sums over rows (Cochran 1977, section 2.11), drawn
    towards one a row as by four more rows; then Jeffreys' interval.
    """
    n, total = len(hits), max(float(claims.sum()), 1.0)
    value = 2 * float(hits.sum()) / total
    if not 0 < value < 1:
        return jeffreys(value * n * share, n * share, level)
    by_rows = float(((2 * hits - value * claims) ** 2).sum()) / total**2 * n / max(n - 1, 1)
    alone = (value * (1 - value) + 0.25 / n) / n
    variance = (n * by_rows + _CLUSTERED_ROWS * alone) / (n + _CLUSTERED_ROWS)
    worth = share * min(max(value * (1 - value) / variance, 1.0), total)
    return jeffreys(value * worth, worth, level)


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


def conformal_rank(n: int, level: float) -> int | None:
    """ceil(level (n + 1)): the bound's place among n ordered scores; None where n is too small for one."""
    rank = math.ceil(round(level * (n + 1), 9))
    return rank if rank <= n else None


def conformal_half_width(residuals: Array, level: float = 0.95) -> float:
    """The ceil(level (n + 1))-th smallest absolute residual, at most the largest (split conformal)."""
    ordered = np.sort(np.abs(residuals))
    return float(ordered[(conformal_rank(len(ordered), level) or len(ordered)) - 1])
