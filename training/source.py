"""Where heads are fitted: one tap of one backbone, with or without the class names as evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from models.fitspec import BackboneChoice
from training.folds import Folds
from training.frame import Frame
from training.methods.base import Floats, Problem


@dataclass(frozen=True, eq=False)
class Source:
    """Features of one tap of one backbone.

    `raw` is the problem as the backbone gives it, `problem` the same in its own frame. `names` [C, D]
    are the features of the class names, in the order of the labels; with `uses_names` each is one more
    example of its class, always learnt from and never tested. `transductive`: the method sees the
    unlabelled target too, so the frame is one in which both domains fit. `widths` are the dimensions of
    a joined tap's parts, in order; empty for a tap of one part.
    """

    backbone: BackboneChoice
    tap: str
    raw: Problem
    names: Floats | None = None
    uses_names: bool = False
    transductive: bool = False
    widths: tuple[int, ...] = ()

    @cached_property
    def frame(self) -> Frame:
        if not self.transductive or self.raw.target is None:
            return Frame.of(self._all.X, self.widths)
        return Frame.of(np.concatenate([self._all.X, self.raw.target]), self.widths)

    @cached_property
    def learning(self) -> Problem:
        """What heads are fitted on: the examples and, where they are used, the class names behind them."""
        target = self.raw.target if self.transductive else None
        entered = None if target is None else self.frame.enter(target)
        return replace(self._all, X=self.frame.enter(self._all.X), target=entered)

    @cached_property
    def problem(self) -> Problem:
        """The examples alone."""
        return self.learning.take(np.arange(len(self.raw)))

    @property
    def _all(self) -> Problem:
        if self.names is None or not self.uses_names:
            return self.raw
        X = np.concatenate([self.raw.X, self.names])
        y = np.concatenate([self.raw.y, np.arange(len(self.names))])
        marks = self.raw.in_target
        if marks is not None:
            marks = np.concatenate([marks, np.zeros(len(self.names), bool)])
        return replace(self.raw, X=X, y=y, in_target=marks)

    def widen(self, folds: Folds) -> Folds:
        """Folds of the examples as folds of `learning`."""
        return folds.extended(len(self.learning) - len(self.raw))
