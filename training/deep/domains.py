"""Two domains in one training: each step sees a batch of either, and a term of the loss joins them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.deep.adversarial import (
    Discriminator,
    MultilinearMap,
    certainty,
    domain_loss,
    ramp,
    reverse,
    roughness,
    uniform_loss,
)
from training.deep.discrepancy import joint_kernel_distance
from training.deep.loop import Moment, Order
from training.graft.tail import Rows

SMOOTHNESS = 10.0
"""How much a discriminator's roughness counts beside its loss (Mescheder et al. 2018)."""
HASTE = 5.0
"""How much faster a discriminator learns than the head."""


@dataclass(frozen=True)
class Pair:
    """A batch of source rows [s] and one of target rows [t]: what the last layer sees, and its logits.

    Features have unit mean square in each dimension where training begins.
    """

    source: Tensor
    target: Tensor
    source_logits: Tensor
    target_logits: Tensor

    @property
    def both(self) -> Tensor:
        """All rows, the source's first."""
        return torch.cat([self.source, self.target])


Distance = Callable[[Pair, float], Tensor]
"""How far apart the two are, times a strength: a term to be made small."""


@dataclass(frozen=True, eq=False)
class Target:
    """The target's unlabelled rows, and which of the labelled rows [n] are the target's too."""

    rows: Rows
    marks: NDArray[np.bool_]
    batch_size: int
    seed: int


class DomainTerm(nn.Module):
    """The distance of the source rows of a training step to as many of the target as its batch has rows.

    It grows in from 0 to `weight` along the ramp of `training.deep.adversarial`.
    """

    def __init__(self, target: Target, distance: Distance, weight: float) -> None:
        super().__init__()
        self.target = target
        self.distance = distance
        self.weight = weight
        rng = np.random.default_rng(target.seed)
        self.order = Order(np.arange(len(target.rows)), target.batch_size, rng)

    def forward(self, moment: Moment) -> Tensor:
        pair = self._pair(moment)
        if not len(pair.source):
            return moment.logits.new_zeros(())
        return self.distance(pair, self.weight * ramp(moment.share))

    def _pair(self, moment: Moment) -> Pair:
        network, where = moment.network, moment.features.device
        there = network.features(self.target.rows.batch(self.order.take().tolist(), where))
        seen = network.embed(torch.cat([moment.features, there]))
        seen = seen * seen.shape[1] ** 0.5
        logits = torch.cat([moment.logits, network.logits(there)])
        ours = torch.zeros(len(seen), dtype=torch.bool)
        ours[: len(moment.rows)] = torch.from_numpy(~self.target.marks[list(moment.rows)])
        ours = ours.to(where)
        return Pair(seen[ours], seen[~ours], logits[ours], logits[~ours])


def between_features(distance: Callable[[Tensor, Tensor], Tensor]) -> Distance:
    """A distance that looks at the features alone."""
    return lambda pair, strength: strength * distance(pair.source, pair.target)


def between_answers(pair: Pair, strength: float) -> Tensor:
    """The joint discrepancy of features and class probabilities."""
    answers = (logits.softmax(dim=1) for logits in (pair.source_logits, pair.target_logits))
    return strength * joint_kernel_distance(pair.source, pair.target, *answers)


class Reversal(nn.Module):
    """DANN: a discriminator learns to tell the domains apart, the features to prevent it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.discriminator = Discriminator(dim)

    def forward(self, pair: Pair, strength: float) -> Tensor:
        ours, theirs = (self.discriminator(reverse(rows, strength)) for rows in (pair.source, pair.target))
        return domain_loss(ours, theirs) + SMOOTHNESS * roughness(self.discriminator, pair.both)


class Uniform(nn.Module):
    """Domain confusion (Tzeng et al. 2015): the features are to leave the discriminator at one half."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.discriminator = Discriminator(dim)

    def forward(self, pair: Pair, strength: float) -> Tensor:
        ours, theirs = (self.discriminator(rows.detach()) for rows in (pair.source, pair.target))
        fixed = {name: weight.detach() for name, weight in self.discriminator.named_parameters()}
        confused = uniform_loss(torch.func.functional_call(self.discriminator, fixed, (pair.both,)))
        own = domain_loss(ours, theirs) + SMOOTHNESS * roughness(self.discriminator, pair.both)
        return own + strength * confused


class Conditional(nn.Module):
    """CDAN: the discriminator sees features together with the classes that they are taken for.

    No gradient flows through those classes. With `entropy` sure examples weigh more (CDAN+E).
    """

    def __init__(self, dim: int, classes: int, *, entropy: bool) -> None:
        super().__init__()
        self.map = MultilinearMap(dim, classes)
        self.discriminator = Discriminator(self.map.width)
        self.entropy = entropy

    def forward(self, pair: Pair, strength: float) -> Tensor:
        classes = [logits.detach().softmax(dim=1) for logits in (pair.source_logits, pair.target_logits)]
        mapped = [self.map(rows, p) for rows, p in zip((pair.source, pair.target), classes, strict=True)]
        weights = [certainty(p) if self.entropy else None for p in classes]
        judged = (self.discriminator(reverse(rows, strength)) for rows in mapped)
        smooth = SMOOTHNESS * roughness(self.discriminator, torch.cat(mapped))
        return domain_loss(*judged, *weights) + smooth
