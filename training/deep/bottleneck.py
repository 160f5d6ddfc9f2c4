"""A layer between the features and the scores: where fixed features are bent, so that the domains meet."""

from __future__ import annotations

import copy

import numpy as np
from numpy.typing import NDArray
from torch import nn

from training.deep.material import Ground
from training.deep.network import Network, linear
from training.deep.tuning import Build, start
from training.frame import Frame
from training.graft.tail import Tail
from training.methods.base import Problem

_MOST_ROWS = 2000  # that principal axes are taken from


def with_bottleneck(units: int) -> Build:
    """A network with a hidden layer of so many units (one less where odd), which begins as a linear head.

    Each principal axis p of the features has two units, relu(p x) and relu(-p x), whose difference is p x:
    on them the head gives the scores that it gives on the features, but for the axes beyond units / 2. It
    begins there for the sake of the features (Kumar et al. 2022).
    """

    def build(tail: Tail, ground: Ground, problem: Problem) -> Network:
        head, frame = start(ground, problem)
        network = Network(copy.deepcopy(tail.module), tail.top, head, frame)
        axes = _axes(frame, problem)[:, : units // 2]
        answer = frame.lift(head.weight) @ axes
        mirrored = np.concatenate([axes.T, -axes.T])
        network.layers = nn.ModuleList(
            [
                linear(mirrored, np.zeros(len(mirrored))),
                linear(np.concatenate([answer, -answer], axis=1), head.bias),
            ]
        )
        return network

    return build


def _axes(frame: Frame, problem: Problem) -> NDArray[np.float64]:
    """Principal axes [D, r], greatest first."""
    if frame.axes is not None:
        return frame.axes
    drawn = np.random.default_rng(problem.seed).permutation(len(problem))[:_MOST_ROWS]
    found = Frame.of(problem.X[drawn]).axes
    return np.eye(problem.X.shape[1]) if found is None else found
