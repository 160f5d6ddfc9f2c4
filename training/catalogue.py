"""Every transfer method as JSON: what `GET /v1/fine_tuning/methods` lists."""

from __future__ import annotations

from typing import Any

from training.auto import AutoHyperparameters
from training.methods import METHODS, PROCEDURES
from training.methods.base import ALL_MODALITIES, schema_of
from training.portfolio import REFERENCE
from training.select import AUTO

_AUTO: dict[str, Any] = {
    "name": AUTO,
    "title": "Choose backbone, tap, method and setting by cross-validation",
    "tasks": list(REFERENCE),
    "modalities": list(ALL_MODALITIES),
    "setting": "inductive",
    "source": "Out-of-fold loss; logistic regression (ridge) stays unless clearly beaten: docs/auto.md",
    "baseline": False,
    "needs": [],
    "available": True,
    "labels_optional": False,
}


def catalogue() -> list[dict[str, Any]]:
    """`auto` first, then all others by name, each with the schema of its hyperparameters."""
    everything = METHODS | PROCEDURES
    auto = {**_AUTO, "hyperparameters": schema_of(AutoHyperparameters)}
    return [auto, *(everything[name].info.describe() for name in sorted(everything))]
