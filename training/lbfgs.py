"""Limited-memory BFGS for smooth convex functions (Nocedal and Wright 2006, algorithm 7.5).

Why not scipy's: it is float64 only and copies tens of thousands of variables through its bound
constraints at each step; here the step costs what its matrix products cost, in the caller's precision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Objective = Callable[[Array], tuple[float, Array]]
_MEMORY = 10
_ARMIJO = 1e-4
_SMALLEST_STEP = 1e-6


def minimise(objective: Objective, start: Array, tolerance: float, max_iterations: int = 500) -> Array:
    """The minimiser of a convex `objective` (its value and gradient), from `start`, of any shape.

    Ends when no partial derivative exceeds `tolerance`, or the value no longer falls. The variables
    should be scaled so that the Hessian is near the identity: the first step is then near Newton's.
    """
    x, (value, gradient) = start, objective(start)
    pairs: deque[tuple[Array, Array, float]] = deque(maxlen=_MEMORY)
    floor = float(np.finfo(start.dtype).eps) / 100
    for _ in range(max_iterations):
        if np.abs(gradient).max() <= tolerance:
            break
        moved, new_value, new_gradient = _search(objective, x, value, gradient, _direction(gradient, pairs))
        step, change = moved - x, new_gradient - gradient
        curvature = float(np.vdot(step, change))
        if curvature > 0:
            pairs.append((step, change, 1 / curvature))
        stalled = value - new_value <= floor * abs(value)
        x, value, gradient = moved, new_value, new_gradient
        if stalled:
            break
    return x


def _search(
    objective: Objective, x: Array, value: float, gradient: Array, direction: Array
) -> tuple[Array, float, Array]:
    """Halve the step until the value falls enough (Armijo); the place itself when it never does."""
    slope, length = float(np.vdot(gradient, direction)), 1.0
    while length > _SMALLEST_STEP:
        moved = x + length * direction
        new_value, new_gradient = objective(moved)
        if new_value <= value + _ARMIJO * length * slope:
            return moved, new_value, new_gradient
        length /= 2
    return x, value, gradient


def _direction(gradient: Array, pairs: deque[tuple[Array, Array, float]]) -> Array:
    """The two-loop recursion: minus the inverse Hessian, as far as remembered, times the gradient."""
    result, weights = gradient.copy(), []
    for step, change, rho in reversed(pairs):
        weights.append(rho * float(np.vdot(step, result)))
        result -= weights[-1] * change
    if pairs:
        _, change, rho = pairs[-1]
        result *= 1 / (rho * float(np.vdot(change, change)))
    for (step, change, rho), weight in zip(pairs, reversed(weights), strict=True):
        result += (weight - rho * float(np.vdot(change, result))) * step
    return -result
