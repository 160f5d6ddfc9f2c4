"""What a transfer method is: a frozen record, a grid of settings, and a fit that gives heads.

A new method is one new file in this package that ends with `register(...)`; nothing else changes.
Methods do not import each other.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

from models.base import ModalityName, TaskName
from training.heads import Activation, Head, Scores
from training.registry import Registry

if TYPE_CHECKING:
    from training.job import Job, Result

Floats = NDArray[np.floating[Any]]
Setting = dict[str, float | int | str | bool | None]
"""One concrete choice of hyperparameters."""

Auto = Literal["auto"]
"""In a hyperparameter's place: choose it from the examples."""

Need = Literal["unlabelled", "target_labels", "names", "parent", "torch"]
"""What a method must have besides labelled examples: unlabelled ones of the target domain; labelled ones of
it beside a source; a text backbone, in which class names are embedded; a model to start from; torch. A job
that lacks it is refused."""

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

    Adaptation has two domains: `target` [m, D] are unlabelled features of the domain that the model will
    serve, and `in_target` [n] marks the labelled rows that are of it too. None: there is only one.
    """

    X: Floats
    y: NDArray[Any]
    task: TaskName
    labels: tuple[str, ...]
    seed: int = 0
    target: Floats | None = None
    in_target: NDArray[np.bool_] | None = None

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
        """The given rows (indices or a mask) as a problem of their own: same labels, same target."""
        marks = None if self.in_target is None else self.in_target[rows]
        return replace(self, X=self.X[rows], y=self.y[rows], in_target=marks)


@dataclass(frozen=True, eq=False)
class Alignment:
    """How a method brought the source domain to the target domain.

    `move` takes rows of the source [n, D] to where rows of the target lie. `weights` [s] are those of the
    source's rows, None for equal ones. The domains are compared in the coordinates `view` [D, r], None for
    the features' own.
    """

    move: Callable[[Floats], Floats]
    weights: NDArray[np.float64] | None = None
    view: NDArray[np.float64] | None = None

    def moved(self, problem: Problem) -> Problem:
        """The problem with its source rows moved; those of the target stay."""
        if problem.in_target is None:
            return replace(problem, X=self.move(problem.X))
        kept = problem.in_target[:, None]
        return replace(problem, X=np.where(kept, problem.X, self.move(problem.X)))


@dataclass(frozen=True)
class Fitted:
    """A head and the setting it was fitted with, every `auto` resolved.

    `alignment` is how it came about, where the method adapts: the head takes the target's features.
    """

    head: Head
    setting: Setting
    alignment: Alignment | None = None

    def logits(self, rows: Problem) -> Scores:
        """Of a problem's rows [n, C]; rows of the source are first moved to the target."""
        return self.head.logits((rows if self.alignment is None else self.alignment.moved(rows)).X)


class Hyperparameters(BaseModel):
    """A method's settings as a user may give them. Its JSON schema is served by the API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _auto_as_if_left_out(cls, given: Any) -> Any:
        """Where `auto` is the default: pydantic would hold a number's bounds against the word."""
        if not isinstance(given, Mapping):
            return given
        auto = {name for name, field in cls.model_fields.items() if field.default == "auto"}
        return {name: value for name, value in given.items() if name not in auto or value != "auto"}

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
    needs: tuple[Need, ...] = ()
    labels_optional: bool = False  # whether it can do without any labelled example

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
            "needs": list(self.needs),
            "available": "torch" not in self.needs or find_spec("torch") is not None,
            "labels_optional": self.labels_optional,
            "hyperparameters": schema_of(self.hyperparameters),
        }


_BOUNDS = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}


def schema_of(model: type[Hyperparameters]) -> dict[str, Any]:
    """The JSON schema, with the bounds of `auto or a number` where a validator looks for them.

    Pydantic leaves them beside the alternatives, under its own names, where they bind nothing.
    """
    schema = model.model_json_schema()
    for field in schema.get("properties", {}).values():
        bounds = {_BOUNDS[key]: field.pop(key) for key in _BOUNDS.keys() & field.keys()}
        for option in field.get("anyOf", ()):
            if option.get("type") in ("integer", "number"):
                option.update(bounds)
    return schema


class Method(Protocol):
    """Fits heads on features. Expects them centred and of unit mean square norm (`training.frame`)."""

    @property
    def info(self) -> MethodInfo: ...

    def fit(self, problem: Problem, grid: Sequence[Setting], *, rough: bool = False) -> list[Fitted]:
        """One fitted head a setting, in order, sharing what can be shared.

        `rough`: the heads are only compared, never kept, so a loose tolerance will do.
        """
        ...


class Procedure(Protocol):
    """A method that needs more than features of one tap, and so selects, fits and evaluates by itself."""

    @property
    def info(self) -> MethodInfo: ...

    def run(self, job: Job) -> Result:
        """Fit on every example what `job.spec.hyperparameters` ask for, with its out-of-fold evidence.

        Raises JobFailed: `non_finite` when training diverged, or with the reason why it cannot be done.
        """
        ...


METHODS: Registry[Method] = Registry("training.methods")
PROCEDURES: Registry[Procedure] = Registry("training.methods")


def register(method: Method) -> None:
    """Add a method. Raises ValueError when its name is taken."""
    METHODS.add(method.info.name, method)


def register_procedure(procedure: Procedure) -> None:
    """Add a procedure. Raises ValueError when its name is taken."""
    PROCEDURES.add(procedure.info.name, procedure)


def find(name: str) -> MethodInfo | None:
    """The record of a method or procedure, by name."""
    found = METHODS.get(name) or PROCEDURES.get(name)
    return None if found is None else found.info
