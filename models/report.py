"""What a fine-tuning job has to say about its model: `report.json`, from which the HTML page is drawn.

Every estimate comes from out-of-fold predictions: no example was scored by a head that had seen it.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import ModalityName, Record, TaskName

Value = float | int | str | bool | None


class Estimate(Record):
    """How well the model will do on new examples like the given ones: a 95 % interval and its evidence."""

    metric: Literal["accuracy", "rmse", "micro_f1"]
    value: float | None = Field(description="None when there was nothing to hold out")
    low: float | None = None
    high: float | None = None
    n: int = Field(description="examples that were predicted out of fold")
    how: str = Field(description="how the value and its interval were made, in words")
    insufficient_evidence: bool = Field(
        default=False, description="too few examples: the value is a guess, and no interval is claimed"
    )


class ClassReport(Record):
    """One class, out of fold. Precision is None when it was never predicted."""

    label: str
    examples: int
    support: int = Field(description="examples predicted out of fold")
    precision: float | None
    recall: float | None
    f1: float | None


class Confusion(Record):
    """Counts [true][predicted] over `labels`; above 50 classes only the most confused pairs."""

    labels: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...] | None = None
    pairs: tuple[tuple[str, str, int], ...] = Field(
        default=(), description="(true, predicted, count), worst first"
    )


class CalibrationBin(Record):
    """Predictions whose confidence lies in (low, high]."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


class Calibration(Record):
    """Do probabilities mean what they say? Out of fold, after the temperature was set."""

    ece: float = Field(description="expected calibration error, equal-width bins")
    log_loss: float
    temperature: float
    bins: tuple[CalibrationBin, ...]


class Baseline(Record):
    """A cheap alternative that the model must beat, under the same folds."""

    name: str
    metric: str
    value: float


class Candidate(Record):
    """One thing that was tried."""

    backbone: str
    tap: str
    method: str
    params: dict[str, Value]
    metric: str
    value: float | None
    loss: float | None = Field(description="mean out-of-fold log-loss, or mean squared error / variance")
    low: float | None
    high: float | None
    seconds: float
    chosen: bool


class Validation(Record):
    """Results on the validation file, which took no part in fitting or choosing."""

    n: int
    metrics: dict[str, float]
    unknown_labels: int = Field(default=0, description="rows left out: their class was not trained")


class Adaptation(Record):
    """How far apart source and target lie, and which of the two the estimate is of.

    The proxy A-distance is 0 where a linear classifier cannot tell the domains apart, 2 where it always
    can; None with too few examples of one.
    """

    a_distance_before: float | None
    a_distance_after: float | None = Field(
        default=None, description="as the head's method sees the domains; None where it does not adapt"
    )
    source_examples: int
    target_examples: int = Field(description="without a label")
    target_labelled: int
    estimate_domain: Literal["source", "target"]
    effective_sample_size: float | None = Field(
        default=None, description="of the source's examples, where the method weighs them"
    )


class Report(Record):
    """Everything a person needs to judge a job."""

    format: Literal[1] = 1
    job: str
    task: TaskName
    modality: ModalityName
    setting: str = Field(description="setting of transfer, such as inductive")
    method: str
    hyperparameters: dict[str, Value]
    backbone: str
    tap: str
    examples: int = Field(description="labelled examples used")
    classes: dict[str, int] = Field(description="labelled examples a class; empty for regression")
    unlabelled: int
    estimate: Estimate
    metrics: dict[str, float] = Field(
        description="every out-of-fold metric, by name: those of the task; `set_coverage` and `set_size` "
        "where there are prediction sets; `false_alarms` where the unknown is told; what else the method "
        "measured"
    )
    per_class: tuple[ClassReport, ...] = ()
    confusion: Confusion | None = None
    calibration: Calibration | None = None
    baselines: tuple[Baseline, ...] = ()
    candidates: tuple[Candidate, ...] = ()
    validation: Validation | None = None
    adaptation: Adaptation | None = Field(default=None, description="where there is a target domain")
    timings: dict[str, float] = Field(description="seconds a phase")
    digests: dict[str, str] = Field(description="training set, backbone, artefact")
    seed: int
    versions: dict[str, str]
    warnings: tuple[str, ...] = ()
    advice: tuple[str, ...] = Field(default=(), description="what to label next, worth most first")
