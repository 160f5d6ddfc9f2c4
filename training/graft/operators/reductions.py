"""Operators over one or several axes: sums, extremes, norms, softmax."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, reduce

import torch
from torch import Tensor

from training.graft.operators.base import Call, numbers, operator

Reduction = Callable[[Tensor, list[int], bool], Tensor]


def _product(x: Tensor, axes: list[int], keep: bool) -> Tensor:
    x = reduce(lambda y, axis: y.prod(axis, keepdim=True), axes, x)
    return x if keep else x.squeeze(axes)


_REDUCTIONS: dict[str, Reduction] = {
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "ReduceL2": lambda x, axes, keep: torch.linalg.vector_norm(x, dim=axes, keepdim=keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: torch.logsumexp(x, axes, keepdim=keep),
    "ReduceMax": lambda x, axes, keep: torch.amax(x, axes, keepdim=keep),
    "ReduceMean": lambda x, axes, keep: torch.mean(x, axes, keepdim=keep),
    "ReduceMin": lambda x, axes, keep: torch.amin(x, axes, keepdim=keep),
    "ReduceProd": _product,
    "ReduceSum": lambda x, axes, keep: torch.sum(x, axes, keepdim=keep),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keepdim=keep),
}


def _reduce(function: Reduction, call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = numbers(axes if axes is not None else call.get("axes"))
    if not chosen and call.get("noop_with_empty_axes", 0):
        return x
    return function(x, chosen or list(range(x.ndim)), bool(call.get("keepdims", 1)))


for _name, _function in _REDUCTIONS.items():
    operator(_name)(partial(_reduce, _function))


def _extreme(function: Callable[..., Tensor], call: Call, x: Tensor) -> Tensor:
    return function(x, dim=call.get("axis", 0), keepdim=bool(call.get("keepdims", 1)))


operator("ArgMax")(partial(_extreme, torch.argmax))
operator("ArgMin")(partial(_extreme, torch.argmin))


def _soft(function: Callable[[Tensor, int], Tensor], call: Call, x: Tensor) -> Tensor:
    if call.opset >= 13:
        return function(x, call.get("axis", -1))
    axis = call.get("axis", 1) % x.ndim  # once over all axes from this one on
    return function(x.flatten(axis), -1).reshape(x.shape)


operator("Softmax")(partial(_soft, torch.softmax))
operator("LogSoftmax")(partial(_soft, torch.log_softmax))


@operator("CumSum")
def cumsum(call: Call, x: Tensor, axis: Tensor) -> Tensor:
    along = int(axis)
    x = x.flip(along) if call.get("reverse", 0) else x
    total = x.cumsum(along, dtype=x.dtype)
    total = total - x if call.get("exclusive", 0) else total
    return total.flip(along) if call.get("reverse", 0) else total
