"""What a transfer method is: a frozen record, a grid of settings, and a fit that gives heads.

A new method is one new file in this package that ends with `register(...)`; nothing else changes.
Methods do not import each other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from models.base import ModalityName, TaskName
from training.heads import Activation, Head

Floats = NDArray[np.floating[Any]]
Setting = dict[str, float | int | str | bool | None]
"""One concrete choice of hyperparameters."""

Auto = Literal["auto"]
"""In a hyperparameter's place: choose it from the examples."""

ALL_MODALITIES: tuple[ModalityName, ...] = ("text", "image", "audio", "signal")
_ACTIVATIONS: dict[TaskName, Activation] = {
    "classification": "softmax",
    "multilabel": "sigmoid",
    "regression": "identity",
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Labelled features.

    `X` is [n, D]. `y` is int64 [n] of class indices (classification), float64 [n, K] (regression) or
    0/1 float64 [n, C] (multilabel). `labels` names the C classes or the K targets.
    """

    X: Floats
    y: NDArray[Any]
    task: TaskName
    labels: tuple[str, ...]
    seed: int = 0

    def __len__(self) -> int:
        return len(self.X)

    @cached_property
    def targets(self) -> NDArray[np.float64]:
        """float64 [n, C]: one-hot rows, 0/1 rows, or the values themselves."""
        if self.task != "classification":
            return np.asarray(self.y, np.float64)
        one_hot = np.zeros((len(self), len(self.labels)))
        one_hot[np.arange(len(self)), self.y] = 1
        return one_hot

    @property
    def activation(self) -> Activation:
        """What turns this task's logits into its answer."""
        return _ACTIVATIONS[self.task]

    def take(self, rows: NDArray[Any]) -> Problem:
        """The given rows (indices or a mask) as a problem of their own, over the same labels."""
        return replace(self, X=self.X[rows], y=self.y[rows])


@dataclass(frozen=True)
class Fitted:
    """A head and the setting it was fitted with, every `auto` resolved."""

    head: Head
    setting: Setting


class Hyperparameters(BaseModel):
    """A method's settings as a user may give them. Its JSON schema is served by the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @abstractmethod
    def grid(self, problem: Problem) -> list[Setting]:
        """The settings that cross-validation should choose among; one when all is fixed.

        The first is the default: it stays unless another is clearly better.
        """


@dataclass(frozen=True)
class MethodInfo:
    """Who a method is."""

    name: str
    title: str
    tasks: tuple[TaskName, ...]
    setting: str  # of transfer: inductive, transductive, ...
    source: str  # paper and formula
    hyperparameters: type[Hyperparameters]
    modalities: tuple[ModalityName, ...] = ALL_MODALITIES
    baseline: bool = False

    def describe(self) -> dict[str, Any]:
        """The record as JSON, with the schema of its hyperparameters."""
        return {
            "name": self.name,
            "title": self.title,
            "tasks": list(self.tasks),
            "modalities": list(self.modalities),
            "setting": self.setting,
            "source": self.source,
            "baseline": self.baseline,
            "hyperparameters": self.hyperparameters.model_json_schema(),
        }


class Method(Protocol):
    """Fits heads on features. Expects them centred and of unit mean square norm (`training.frame`)."""

    @property
    def info(self) -> MethodInfo: ...

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        """One fitted head a setting, in order, sharing what can be shared.

        `rough`: the heads are only compared, never kept, so a loose tolerance will do.
        """
        ...


METHODS: dict[str, Method] = {}


def register(method: Method) -> None:
    """Add a method. Raises ValueError when its name is taken."""
    if method.info.name in METHODS:
        raise ValueError(f"There is already a method called {method.info.name}.")
    METHODS[method.info.name] = method
