"""The members of the pool of heads: which methods, at which settings, and what they are called in it."""

from __future__ import annotations

from models.base import TaskName
from training.methods.base import Problem, Setting

Member = tuple[str, Setting]
_LOGISTIC: Member = ("logistic", {"C": 10.0})
_RIDGE: Member = ("ridge", {"penalty": "auto"})
_BENT: tuple[Member, ...] = (
    ("krr", {"gamma": "auto", "penalty": "auto"}),
    ("knn", {"neighbours": 5, "metric": "euclidean"}),
)
_LINEAR: dict[TaskName, tuple[Member, ...]] = {
    "classification": (
        _LOGISTIC,
        ("prototypes", {"sharpness": "auto"}),
        ("lda", {"shrinkage": "auto"}),
    ),
    "multilabel": (_LOGISTIC, _RIDGE),
    "regression": (_RIDGE,),
}
_BENT_CLASSES, _BENT_ROWS = 50, 2000  # above, they cost more than they have been seen to give


def members(problem: Problem) -> tuple[Member, ...]:
    """Who is in the pool, the anchor first."""
    small = problem.targets.shape[1] <= _BENT_CLASSES and len(problem) <= _BENT_ROWS
    return (*_LINEAR[problem.task], *(_BENT if small else ()))


def every_member(task: TaskName) -> tuple[Member, ...]:
    """All that a pool of this task may hold, however many examples there are."""
    return (*_LINEAR[task], *_BENT)


def member_key(name: str, setting: Setting) -> str:
    """A member's name in the pool's setting: the method and what is fixed of it."""
    fixed = [f"{key}={_short(value)}" for key, value in setting.items() if value != "auto"]
    return " ".join([name, *fixed])


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
