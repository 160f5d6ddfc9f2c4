"""Operators of single numbers: arithmetic, comparison and activation."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.graft.operators.base import Call, operator, plain, together


def _sqrt(x: Tensor) -> Tensor:
    """Its slope at 0 is taken as 0: the deviation of a silent channel must not make every gradient NaN."""
    zero = x == 0
    return torch.where(zero, torch.zeros_like(x), torch.where(zero, torch.ones_like(x), x).sqrt())


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    return torch.where(x < 0, slope * x, x)


_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "HardSwish": functional.hardswish,
    "Log": torch.log,
    "Mish": functional.mish,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": functional.softplus,
    "Softsign": functional.softsign,
    "Sqrt": _sqrt,
    "Tanh": torch.tanh,
}
_BINARY: dict[str, Callable[..., Any]] = {
    "Add": torch.add,
    "And": torch.logical_and,
    "Div": _divide,
    "Equal": torch.eq,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Mul": torch.mul,
    "Or": torch.logical_or,
    "PRelu": _prelu,
    "Pow": torch.pow,
    "Sub": torch.sub,
    "Where": torch.where,
    "Xor": torch.logical_xor,
}
_MANY: dict[str, Callable[..., Any]] = {"Max": torch.maximum, "Min": torch.minimum, "Sum": torch.add}

for _name, _function in (_UNARY | _BINARY).items():
    plain(_name, _function)
for _name, _function in _MANY.items():
    plain(_name, lambda *tensors, pair=_function: reduce(pair, tensors))


@operator("Mean")
def mean(call: Call, *inputs: Tensor) -> Tensor:
    return reduce(torch.add, together(*inputs)) / len(inputs)


@operator("Dropout", "Identity")
def identity(call: Call, x: Tensor, *rest: Tensor) -> Tensor:
    """Dropout as it serves: nothing is dropped."""
    return x


@operator("Mod")
def mod(call: Call, a: Tensor, b: Tensor) -> Tensor:
    a, b = together(a, b)
    return torch.fmod(a, b) if call.get("fmod") else torch.remainder(a, b)


@operator("Clip")
def clip(call: Call, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    for bound, pick in ((low, torch.maximum), (high, torch.minimum)):
        x = x if bound is None else pick(*together(x, bound))
    return x


@operator("Cast")
def cast(call: Call, x: Tensor) -> Tensor:
    return x.to(torch_type(call.get("to")))


@operator("CastLike")
def cast_like(call: Call, x: Tensor, like: Tensor) -> Tensor:
    return x.to(like.dtype)


def torch_type(kind: int) -> torch.dtype:
    """ONNX element type -> torch's."""
    from onnx import helper

    found: torch.dtype = getattr(torch, helper.tensor_dtype_to_np_dtype(kind).name)
    return found


@operator("Elu")
def elu(call: Call, x: Tensor) -> Tensor:
    return functional.elu(x, call.get("alpha", 1.0))


@operator("Celu")
def celu(call: Call, x: Tensor) -> Tensor:
    return functional.celu(x, call.get("alpha", 1.0))


@operator("Selu")
def selu(call: Call, x: Tensor) -> Tensor:
    alpha, gamma = call.get("alpha", 1.67326319217681884765625), call.get("gamma", 1.05070102214813232421875)
    scaled: Tensor = functional.elu(x, alpha) * gamma
    return scaled


@operator("LeakyRelu")
def leaky_relu(call: Call, x: Tensor) -> Tensor:
    return functional.leaky_relu(x, call.get("alpha", 0.01))


@operator("HardSigmoid")
def hard_sigmoid(call: Call, x: Tensor) -> Tensor:
    alpha, beta = call.get("alpha", 0.2), call.get("beta", 0.5)
    shifted: Tensor = x * alpha + beta
    return shifted.clamp(0, 1)


@operator("Gelu")
def gelu(call: Call, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=call.get("approximate", "none"))
