"""Jobs on given features, fitted in this process: what came out, and what it answers to others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import Label, TaskName
from models.manifest import HEAD, Manifest
from models.novelty import NOVELTY, Novelty
from models.report import Report
from models.runtime import open_session
from models.sets import members
from tests.training_support import Bench
from training.fit import run
from training.problem import encode

_NOTHING_DEEP = 1.0  # seconds: too few to train a network


@dataclass(frozen=True, eq=False)
class Fit:
    """A finished job: its report, and its artefact's files as the engine reads them."""

    report: Report
    manifest: Manifest
    files: dict[str, bytes]

    @cached_property
    def _session(self) -> Any:
        return open_session(self.files[HEAD])

    @cached_property
    def novelty(self) -> Novelty | None:
        data = self.files.get(NOVELTY)
        return None if data is None else Novelty.from_bytes(data, self.manifest.head.in_dim)

    def outputs(self, X: NDArray[Any]) -> NDArray[np.float32]:
        """The head's answers [m, C] to features [m, D]."""
        found: NDArray[np.float32] = self._session.run(None, {"features": np.asarray(X, np.float32)})[0]
        return found

    def truth(self, labels: Sequence[Label]) -> NDArray[Any]:
        """Labels as `training.methods.base.Problem.y` has them."""
        return encode(self.manifest.task, labels, self.manifest.labels)

    def sets(self, outputs: NDArray[Any]) -> NDArray[np.bool_] | None:
        """The prediction sets [m, C] of answers; None where the model gives none."""
        rule = self.manifest.prediction_sets
        return None if rule is None else members(outputs, rule.threshold)

    def covers(self, truth: float) -> bool | None:
        """Whether the estimate's interval holds the true value; None where it claims none."""
        low, high = self.report.estimate.low, self.report.estimate.high
        return None if low is None or high is None else low <= truth <= high


def fit(
    X: NDArray[Any], labels: Sequence[Label], task: TaskName, *, method: str = "auto", seed: int = 0
) -> Fit:
    """A job on features [n, D]. There is no backbone that `auto` could train below the top."""
    given = {"time_budget_s": _NOTHING_DEEP} if method == "auto" else {}
    with TemporaryDirectory() as folder:
        rows = np.asarray(X, np.float32)
        spec = Bench(Path(folder)).spec(task, labels, rows, method=method, seed=seed, hyperparameters=given)
        outcome = run(spec, lambda event: None)
        files = {name: (Path(spec.output) / name).read_bytes() for name in outcome.manifest.files}
    return Fit(outcome.report, outcome.manifest, files)
