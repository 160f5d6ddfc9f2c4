"""Operators with weights, and the windows of convolutional networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from training.graft.operators.base import Call, operator, plain

plain("MatMul", torch.matmul)


@operator("Gemm")
def gemm(call: Call, a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if call.get("transA", 0) else a
    b = b.T if call.get("transB", 0) else b
    alpha, beta = call.get("alpha", 1.0), call.get("beta", 1.0)
    return alpha * (a @ b) if c is None else torch.addmm(c, a, b, beta=beta, alpha=alpha)


@operator("Einsum")
def einsum(call: Call, *inputs: Tensor) -> Tensor:
    return torch.einsum(call.get("equation"), *inputs)


@dataclass(frozen=True)
class Window:
    """Where a kernel is laid: a number an axis of space, padding before and after."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @classmethod
    def of(cls, call: Call, sides: Sequence[int], kernel: Sequence[int]) -> Window:
        strides = call.get("strides", [1] * len(kernel))
        dilations = call.get("dilations", [1] * len(kernel))
        pads = call.get("pads", [0] * 2 * len(kernel))
        before, after = pads[: len(kernel)], pads[len(kernel) :]
        if (how := call.get("auto_pad", "NOTSET")).startswith("SAME"):
            spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
            # As many steps as the stride fits into the side, whatever padding that takes.
            total = [
                max(0, (-(-side // stride) - 1) * stride + span - side)
                for side, stride, span in zip(sides, strides, spans, strict=True)
            ]
            less, more = [n // 2 for n in total], [n - n // 2 for n in total]
            before, after = (less, more) if how == "SAME_UPPER" else (more, less)
        return cls(list(kernel), strides, dilations, before, after)

    @property
    def even(self) -> bool:
        return self.before == self.after

    def pad(self, x: Tensor, value: float) -> Tensor:
        """The padding as part of the data."""
        both = zip(reversed(self.before), reversed(self.after), strict=True)
        return functional.pad(x, [n for pair in both for n in pair], value=value)


@operator("Conv")
def conv(call: Call, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    window = Window.of(call, x.shape[2:], weight.shape[2:])
    function = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[x.ndim - 2]
    padding = window.before if window.even else 0
    x = x if window.even else window.pad(x, 0.0)
    return function(x, weight, bias, window.strides, padding, window.dilations, call.get("group", 1))


@operator("MaxPool")
def max_pool(call: Call, x: Tensor) -> Tensor:
    window = Window.of(call, x.shape[2:], call.get("kernel_shape"))
    function = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}[x.ndim - 2]
    native = window.even and all(2 * p <= k for p, k in zip(window.before, window.kernel, strict=True))
    padding = window.before if native else 0
    x = x if native else window.pad(x, -math.inf)
    ceil = bool(call.get("ceil_mode", 0))
    return function(x, window.kernel, window.strides, padding, window.dilations, ceil_mode=ceil)


@operator("AveragePool")
def average_pool(call: Call, x: Tensor) -> Tensor:
    window = Window.of(call, x.shape[2:], call.get("kernel_shape"))
    function = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}[x.ndim - 2]
    ceil, count = bool(call.get("ceil_mode", 0)), bool(call.get("count_include_pad", 0))
    if window.even and all(2 * p <= k for p, k in zip(window.before, window.kernel, strict=True)):
        return function(x, window.kernel, window.strides, window.before, ceil, count)
    total = function(window.pad(x, 0.0), window.kernel, window.strides, 0, ceil)
    if count:
        return total
    return total / function(window.pad(torch.ones_like(x), 0.0), window.kernel, window.strides, 0, ceil)


@operator("GlobalAveragePool")
def global_average_pool(call: Call, x: Tensor) -> Tensor:
    return x.mean(list(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def global_max_pool(call: Call, x: Tensor) -> Tensor:
    return x.amax(list(range(2, x.ndim)), keepdim=True)


@operator("BatchNormalization")
def batch_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """With the statistics of the pretraining: a handful of examples has none worth keeping."""
    return functional.batch_norm(x, mean, var, scale, bias, training=False, eps=call.get("epsilon", 1e-5))


@operator("LayerNormalization")
def layer_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    dims = x.shape[call.get("axis", -1) :]
    return functional.layer_norm(x, dims, scale, bias, call.get("epsilon", 1e-5))


@operator("InstanceNormalization")
def instance_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=scale, bias=bias, eps=call.get("epsilon", 1e-5))


@operator("GroupNormalization")
def group_norm(call: Call, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    groups = call.get("num_groups")
    if scale.numel() == groups:  # a number a group, before opset 21
        scale, bias = (one.repeat_interleave(x.shape[1] // groups) for one in (scale, bias))
    return functional.group_norm(x, groups, scale, bias, call.get("epsilon", 1e-5))


@operator("LpNormalization")
def lp_norm(call: Call, x: Tensor) -> Tensor:
    axis, p = call.get("axis", -1), call.get("p", 2)
    length: Tensor = torch.linalg.vector_norm(x, ord=p, dim=axis, keepdim=True)
    return x / length


@operator("LRN")
def local_response_norm(call: Call, x: Tensor) -> Tensor:
    alpha, beta, bias = call.get("alpha", 1e-4), call.get("beta", 0.75), call.get("bias", 1.0)
    return functional.local_response_norm(x, call.get("size"), alpha, beta, bias)
