"""Affine moves of rows from one domain to another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from training.adaptation.statistics import covariance, power
from training.methods.base import Floats

Array = NDArray[np.float64]
Move = Callable[[Floats], Floats]


def affine(centre: Array, goal: Array, turn: Array | None = None) -> Move:
    """x -> (x - centre) @ turn + goal, for rows [n, D]; without `turn` a shift."""

    def move(rows: Floats) -> Floats:
        away: Array = np.asarray(rows, np.float64) - centre
        return (away if turn is None else away @ turn) + goal

    return move


def recolouring(source: Array, target: Array, regularisation: float) -> Array:
    """C_s^-1/2 C_t^1/2 [D, D]: whitens the source and gives it the target's covariance."""
    whiten = power(covariance(source, regularisation), -0.5)
    return whiten @ power(covariance(target, regularisation), 0.5)
