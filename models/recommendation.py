"""What is asked before training, and the answer: which backbone and tap suit some examples, and why."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import ModalityName, Record, TaskName
from models.fitspec import BackboneChoice

SettingName = Literal["inductive", "transductive", "unsupervised", "zero-shot", "one-shot", "few-shot"]


class RecommendationSpec(Record):
    """Everything a recommendation depends on. Paths are of this machine.

    `default_taps` has the default tap of each backbone, by its id; a choice's `taps` are all candidates.
    """

    task: TaskName
    modality: ModalityName
    training_pack: str
    training_digest: str
    unlabelled_pack: str | None = None
    backbones: tuple[BackboneChoice, ...] = Field(min_length=1)
    default_taps: dict[str, str]
    seed: int = 0
    features: str = Field(description="path of the feature cache (SQLite)")
    threads: int = 1
    most: int = Field(default=1_000, ge=10, description="examples that are looked at")
    seconds: float = Field(default=10.0, gt=0, description="about what computing features may take")


class TransferSetting(Record):
    """The setting of transfer, by the field's name for it, and what in the data makes it so."""

    name: SettingName
    why: str


class LeftOut(Record):
    """A ridge head's leave-one-out result: `value` of `metric`, on `n` examples."""

    metric: Literal["accuracy", "rmse", "micro_f1"]
    value: float
    n: int


class TapCandidate(Record):
    """One tap of one backbone, with its scores; they are None where the examples cannot tell."""

    backbone: str
    tap: str
    baseline: bool = False
    score: float | None = Field(default=None, description="what the order goes by; greater is better")
    logme: float | None = Field(default=None, description="log maximum evidence an example")
    h_score: float | None = Field(default=None, description="classification only")
    loo: LeftOut | None = None
    seconds: float = Field(default=0.0, description="spent on scoring, the features aside")


class Recommendation(Record):
    """The setting, and candidates from the best to the worst."""

    setting: TransferSetting
    candidates: tuple[TapCandidate, ...]
    a_distance: float | None = Field(
        default=None, description="proxy A-distance from the training file to the unlabelled one, 0 to 2"
    )
    advice: tuple[str, ...] = ()
    examples: int = Field(description="labelled examples that were looked at")
    seconds: float
