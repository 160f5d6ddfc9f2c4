"""The ONNX operators that can be trained through, as torch functions."""

from __future__ import annotations

from training.graft.operators import elementwise, layers, reductions, shapes  # noqa: F401 (they register)
from training.graft.operators.base import OPERATORS, Call

__all__ = ["OPERATORS", "Call"]
