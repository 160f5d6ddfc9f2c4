"""Operators that move numbers about, and those that reckon with shapes."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from training.graft.operators.base import Call, numbers, operator, together


@operator("Shape")
def shape(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[call.get("start", 0) : call.get("end")], dtype=torch.int64)


@operator("Size")
def size(call: Call, x: Tensor) -> Tensor:
    return torch.tensor(x.numel())


@operator("Reshape")
def reshape(call: Call, x: Tensor, to: Tensor) -> Tensor:
    dims = to.tolist()
    if not call.get("allowzero", 0):
        dims = [x.shape[axis] if dim == 0 else dim for axis, dim in enumerate(dims)]
    return x.reshape(dims)


@operator("Flatten")
def flatten(call: Call, x: Tensor) -> Tensor:
    axis = call.get("axis", 1)
    axis += x.ndim if axis < 0 else 0
    return x.reshape(math.prod(x.shape[:axis]), -1)


@operator("Transpose")
def transpose(call: Call, x: Tensor) -> Tensor:
    return x.permute(call.get("perm", list(reversed(range(x.ndim)))))


@operator("Squeeze")
def squeeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = numbers(axes if axes is not None else call.get("axes"))
    return x.squeeze() if chosen is None else x.squeeze(chosen)


@operator("Unsqueeze")
def unsqueeze(call: Call, x: Tensor, axes: Tensor | None = None) -> Tensor:
    chosen = numbers(axes if axes is not None else call.get("axes")) or []
    rank = x.ndim + len(chosen)
    for axis in sorted(axis % rank for axis in chosen):
        x = x.unsqueeze(axis)
    return x


@operator("Concat")
def concat(call: Call, *inputs: Tensor) -> Tensor:
    return torch.cat(together(*inputs), dim=call.get("axis"))


@operator("Split")
def split(call: Call, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = call.get("axis", 0)
    told = numbers(sizes if sizes is not None else call.get("split"))
    return torch.split(x, told or -(-x.shape[axis] // call.outputs), dim=axis)


@operator("Slice")
def slice_(
    call: Call,
    x: Tensor,
    starts: Tensor,
    ends: Tensor,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    begin, end = numbers(starts) or [], numbers(ends) or []
    along = numbers(axes) or list(range(len(begin)))
    for axis, *bounds in zip(along, begin, end, numbers(steps) or [1] * len(begin), strict=True):
        rows = range(*slice(*bounds).indices(x.shape[axis]))
        if rows.step > 0:
            x = x.narrow(axis, rows.start, 0) if not rows else _strided(x, axis, rows)
        else:
            x = x.index_select(axis, torch.tensor(list(rows), device=x.device, dtype=torch.int64))
    return x


def _strided(x: Tensor, axis: int, rows: range) -> Tensor:
    everything = [slice(None)] * x.ndim
    everything[axis] = slice(rows.start, rows.stop, rows.step)
    return x[tuple(everything)]


@operator("Gather")
def gather(call: Call, x: Tensor, rows: Tensor) -> Tensor:
    axis = call.get("axis", 0) % x.ndim
    found = x.index_select(axis, _positive(rows, x, axis).reshape(-1))
    return found.reshape((*x.shape[:axis], *rows.shape, *x.shape[axis + 1 :]))


@operator("NonZero")
def nonzero(call: Call, x: Tensor) -> Tensor:
    return x.nonzero().T


@operator("GatherElements")
def gather_elements(call: Call, x: Tensor, rows: Tensor) -> Tensor:
    axis = call.get("axis", 0)
    return torch.gather(x, axis, _positive(rows, x, axis))


def _positive(rows: Tensor, x: Tensor, axis: int) -> Tensor:
    """Indices from the front, where the data is."""
    rows = rows.to(x.device, torch.int64)
    return torch.where(rows < 0, rows + x.shape[axis], rows)


@operator("Expand")
def expand(call: Call, x: Tensor, to: Tensor) -> Tensor:
    return x.expand(np.broadcast_shapes(tuple(x.shape), tuple(to.tolist())))


@operator("Tile")
def tile(call: Call, x: Tensor, repeats: Tensor) -> Tensor:
    return x.repeat(repeats.tolist())


@operator("ConstantOfShape")
def constant_of_shape(call: Call, dims: Tensor) -> Tensor:
    value = call.get("value", torch.zeros(1))
    return torch.full(dims.tolist(), value.item(), dtype=value.dtype)


@operator("Range")
def range_(call: Call, start: Tensor, limit: Tensor, step: Tensor) -> Tensor:
    return torch.arange(start.item(), limit.item(), step.item(), dtype=start.dtype)


@operator("Trilu")
def trilu(call: Call, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    k = 0 if diagonal is None else int(diagonal)
    return torch.triu(x, k) if call.get("upper", 1) else torch.tril(x, k)


@operator("Pad")
def pad(
    call: Call, x: Tensor, pads: Tensor, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    along = numbers(axes) or list(range(x.ndim))
    told = numbers(pads) or []
    for axis, before, after in zip(along, told[: len(along)], told[len(along) :], strict=True):
        if before or after:
            x = _pad_axis(x, axis % x.ndim, before, after, call.get("mode", "constant"), value)
    return x


def _pad_axis(x: Tensor, axis: int, before: int, after: int, mode: str, value: Tensor | None) -> Tensor:
    """One axis padded (cut, where a number is negative)."""
    length = x.shape[axis]
    places = torch.arange(-before, length + after, device=x.device)
    inside = places.clamp(0, length - 1)
    if mode == "reflect":
        inside = (length - 1) - ((length - 1) - places.abs()).abs()
    elif mode == "wrap":
        inside = places % length
    found = x.index_select(axis, inside)
    if mode != "constant":
        return found
    kept = ((places >= 0) & (places < length)).reshape(-1, *[1] * (x.ndim - axis - 1))
    fill = x.new_zeros(()) if value is None else value.to(x)
    return torch.where(kept, found, fill)
