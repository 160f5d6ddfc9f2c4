"""Low-rank changes of weight matrices (LoRA), added up with them before the graph is written."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from models.errors import JobFailed
from training.deep.material import Ground
from training.deep.network import Network
from training.deep.tuning import Build, start
from training.frame import Frame
from training.graft.module import GraphModule
from training.graft.tail import Tail
from training.heads import AffineHead
from training.methods.base import Problem


def matrices(module: GraphModule) -> list[str]:
    """Names of the weights that multiply data as matrices: of MatMul, Gemm and ungrouped convolutions.

    A convolution's kernel [O, I, ...] counts as the matrix [O, I * ...] that it is to its patches.
    """
    found: dict[str, None] = {}
    weights = module.weights
    for node in module.model.graph.node:
        places = {"MatMul": (0, 1), "Gemm": (0, 1), "Conv": (1,)}.get(node.op_type, ())
        if node.op_type == "Conv" and any(one.name == "group" and one.i != 1 for one in node.attribute):
            continue
        for name in (node.input[place] for place in places):
            if name in weights and (weights[name].ndim == 2 or node.op_type == "Conv"):
                found[name] = None
    return list(found)


class LowRank(Network):
    """W + (alpha / r) P Q for each weight of `names`, W fixed (Hu et al. 2022, section 4.1).

    P [rows, r] begins at zero and Q [r, columns] at random, so that training starts from W itself.
    """

    def __init__(
        self,
        tail: GraphModule,
        top: str,
        head: AffineHead,
        frame: Frame,
        *,
        names: list[str],
        rank: int,
        alpha: float,
    ) -> None:
        super().__init__(tail, top, head, frame)
        self.names = names
        shapes = [tail.weights[name].flatten(1).shape for name in names]
        ranks = [min(rank, *shape) for shape in shapes]
        self.scales = [alpha / r for r in ranks]
        self.left = nn.ParameterList(torch.zeros(s[0], r) for s, r in zip(shapes, ranks, strict=True))
        self.right = nn.ParameterList(
            torch.randn(r, s[1]) / math.sqrt(s[1]) for s, r in zip(shapes, ranks, strict=True)
        )

    def weights(self) -> Mapping[str, Tensor]:
        """The changed weights, by name."""
        fixed = self.tail.weights
        changes = zip(self.names, self.scales, self.left, self.right, strict=True)
        return {
            name: fixed[name] + (scale * left @ right).reshape(fixed[name].shape)
            for name, scale, left, right in changes
        }

    def groups(self, rates: Mapping[str, float], head_rate: float) -> list[dict[str, Any]]:
        """Each pair of factors learns at the rate of its weight; the weights themselves are fixed."""
        self.tail.requires_grad_(False)
        pairs = zip(self.names, self.left, self.right, strict=True)
        factors = [{"params": [left, right], "lr": rates[name]} for name, left, right in pairs]
        return [*factors, {"params": list(self.layers.parameters()), "lr": head_rate}]


def low_rank(rates: Mapping[str, float], rank: int, alpha: float) -> Build:
    """A network that begins as `build_plain` has it, with changes of the weights that have a rate.

    Raises JobFailed (`nothing_to_train`) where there is no matrix among them.
    """

    def build(tail: Tail, ground: Ground, problem: Problem) -> LowRank:
        head, frame = start(ground, problem)
        names = [name for name in matrices(tail.module) if name in rates]
        if not names:
            message = "There is no weight matrix in the chosen blocks: choose more of them, or finetune."
            raise JobFailed(message, code="nothing_to_train")
        module = copy.deepcopy(tail.module)
        return LowRank(module, tail.top, head, frame, names=names, rank=rank, alpha=alpha)

    return build
