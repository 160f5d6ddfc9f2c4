"""What is trained: the tail of a backbone and a head on its features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.frame import Frame
from training.graft.module import GraphModule
from training.heads import Activation, AffineHead

Batch = dict[str, Tensor]


class Network(nn.Module):
    """features = tail(batch); logits = layers((features - mean) / scale), with ReLU between layers."""

    mean: Tensor
    scale: Tensor

    def __init__(self, tail: GraphModule, top: str, head: AffineHead, frame: Frame) -> None:
        """`head` takes coordinates of `frame`, whose axes are left out here: it is turned back."""
        super().__init__()
        self.tail = tail
        self.top = top
        self.activation: Activation = head.activation
        self.register_buffer("mean", torch.tensor(frame.mean, dtype=torch.float32))
        self.register_buffer("scale", torch.tensor(frame.scale, dtype=torch.float32))
        self.layers = nn.ModuleList([linear(frame.lift(head.weight), head.bias)])

    def set_head(self, head: AffineHead, frame: Frame) -> None:
        """Another head of one layer, and the frame that it takes coordinates of."""
        where = self.mean.device
        self.mean.copy_(torch.tensor(frame.mean, dtype=torch.float32))
        self.scale.copy_(torch.tensor(frame.scale, dtype=torch.float32))
        self.layers = nn.ModuleList([linear(frame.lift(head.weight), head.bias)]).to(where)

    def weights(self) -> Mapping[str, Tensor] | None:
        """What stands in for the tail's own weights; None for nothing."""
        return None

    def groups(self, rates: Mapping[str, float], head_rate: float) -> list[dict[str, Any]]:
        """What learns, at which rate, as an optimiser takes it; `rates` are of weights of the tail.

        The last group is the head and whatever else is the network's own. Other weights are fixed.
        """
        weights = self.tail.weights
        for name, weight in weights.items():
            weight.requires_grad_(name in rates)
        tail = [{"params": [weights[name]], "lr": rate} for name, rate in rates.items() if name in weights]
        own = [value for name, value in self.named_parameters() if not name.startswith("tail.")]
        return [*tail, {"params": own, "lr": head_rate}]

    def features(self, batch: Batch) -> Tensor:
        """[N, D] at the top tap."""
        found: Tensor = self.tail(batch, self.weights())[self.top]
        return found

    def embed(self, features: Tensor) -> Tensor:
        """What the last layer sees, [N, H]."""
        found = (features - self.mean) / self.scale
        for layer in self.layers[:-1]:
            found = torch.relu(layer(found))
        return found

    def logits(self, features: Tensor) -> Tensor:
        """[N, C] from the features [N, D]."""
        found: Tensor = self.layers[-1](self.embed(features))
        return found

    def forward(self, batch: Batch) -> Tensor:
        return self.logits(self.features(batch))

    def head_layers(self) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Weight and bias of each layer, the first one taking raw features."""
        pairs = [(_array(layer.weight), _array(layer.bias)) for layer in self.layers]
        weight, bias = pairs[0]
        raw = weight / float(self.scale)
        return [(raw, bias - raw @ _array(self.mean)), *pairs[1:]]


def linear(weight: NDArray[np.float64], bias: NDArray[np.float64]) -> nn.Linear:
    """A layer with these numbers, [C, D] and [C]."""
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return layer


def _array(tensor: object) -> NDArray[np.float64]:
    assert isinstance(tensor, Tensor)  # noqa: S101 (for the type checker: ModuleList holds modules of any kind)
    return tensor.detach().cpu().numpy().astype(np.float64)
