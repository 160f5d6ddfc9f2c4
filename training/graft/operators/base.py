"""What an operator is: a function of a call and its tensors. Each is found by its ONNX name in `OPERATORS`.

Whole numbers that describe shapes stay on the CPU, whatever device the data is on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Outcome = Tensor | Sequence[Tensor]
Operator = Callable[..., Outcome]
"""`operator(call, *inputs)`; an input that is left out at the end is not passed, one in between is None."""

OPERATORS: dict[str, Operator] = {}


@dataclass(frozen=True)
class Call:
    """How a node asks for its operator; `outputs` is how many tensors it wants."""

    opset: int
    outputs: int
    attributes: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        return self.attributes.get(name, default)


def operator(*names: str) -> Callable[[Operator], Operator]:
    """Register a function under ONNX names. Raises ValueError for a name that is taken."""

    def register(function: Operator) -> Operator:
        for name in names:
            if name in OPERATORS:
                raise ValueError(f"{name} is registered twice")
            OPERATORS[name] = function
        return function

    return register


def plain(name: str, function: Callable[..., Any]) -> None:
    """Register a function that needs nothing but its tensors."""

    def call_plainly(call: Call, *inputs: Tensor) -> Tensor:
        found: Tensor = function(*together(*inputs))
        return found

    operator(name)(call_plainly)


def together(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors on one device: that of the first which is not on the CPU."""
    device = next((t.device for t in tensors if t.device.type != "cpu"), None)
    return tensors if device is None else tuple(tensor.to(device) for tensor in tensors)


def numbers(value: Tensor | Sequence[int] | None) -> list[int] | None:
    """Whole numbers that are an attribute in some opsets and an input in others."""
    if value is None:
        return None
    return [int(one) for one in (value.tolist() if isinstance(value, torch.Tensor) else value)]
