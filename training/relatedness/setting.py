"""Which setting of transfer some data are: the vocabulary of Pan and Yang (2010) and of few-shot learning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.base import TaskName
from models.recommendation import SettingName, TransferSetting
from training.relatedness.adistance import Distance

FEW_SHOTS = 20  # examples a class from which learning counts as no longer few-shot
FEW_VALUES = 40  # likewise of regression
DIFFERENT = 0.4  # a proxy A-distance from which domains count as different, if it is no noise
_ERRORS = 3.0  # folds share training data, so that their errors are not independent


@dataclass(frozen=True)
class Facts:
    """What the setting depends on: `counts` are the examples of each class (none for regression),
    `unlabelled` the examples of the unlabelled file, `distance` how far its domain is, `looked_at` the
    labelled examples that were compared."""

    task: TaskName
    labelled: int
    counts: tuple[int, ...]
    unlabelled: int = 0
    distance: Distance | None = None
    looked_at: int = 0

    @property
    def shots(self) -> float:
        """Examples of a typical class; all of them for regression."""
        return float(np.median(self.counts)) if self.counts else self.labelled

    @property
    def shifted(self) -> bool:
        """Whether the unlabelled file is of another domain; taken to be so where that cannot be measured."""
        if self.distance is None:
            return self.unlabelled > 0
        return self.distance.value > max(DIFFERENT, _ERRORS * self.distance.error)


def setting_of(facts: Facts) -> TransferSetting:
    """The setting's name, and why."""
    if not facts.labelled:
        return _without_labels(facts)
    if facts.unlabelled and facts.shifted:
        return TransferSetting(name="transductive", why=_shift(facts))
    same = " The unlabelled file is of the training file's domain." if facts.unlabelled else ""
    if facts.task == "regression":
        few = facts.labelled < FEW_VALUES
        why = f"{facts.labelled} examples have values{', which is few' if few else ''}.{same}"
        return TransferSetting(name="few-shot" if few else "inductive", why=why)
    name: SettingName = "one-shot" if facts.shots <= 1 else "few-shot"
    name = name if facts.shots < FEW_SHOTS else "inductive"
    why = f"A typical class has {facts.shots:g} labelled example{'s' * (facts.shots != 1)}.{same}"
    return TransferSetting(name=name, why=why)


def _without_labels(facts: Facts) -> TransferSetting:
    if facts.task == "classification":
        why = "No example has a label: classes can only be known by names, descriptions or attributes."
        return TransferSetting(name="zero-shot", why=why)
    return TransferSetting(name="unsupervised", why="No example has a label: only structure can be learnt.")


def _shift(facts: Facts) -> str:
    if facts.distance is None:
        return "Labels are of one file and the other has none; too few examples to measure how they differ."
    return (
        "Labels are of one domain, and the unlabelled file is of another: a linear classifier tells their "
        f"features apart (proxy A-distance {facts.distance.value:.2f} of 2)."
    )
