"""Hyperparameters that every deep method of domain adaptation shares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.deep.settings import DeepHyperparameters, steps_for
from training.methods.base import Auto

_LEAST_STEPS = 200  # a ramp needs some to climb
_UNITS = 256


class AdaptHyperparameters(DeepHyperparameters):
    """`auto` steps: 20 passes over the labelled examples, at least 200 steps and at most 2,000."""

    blocks: Auto | Literal["all"] | Annotated[int, Field(ge=0, le=1000)] = Field(
        default="auto",
        description="so many of the last are trained; 0: none, a layer of its own is trained on the fixed "
        "features; auto: 0",
    )
    bottleneck: Auto | int = Field(
        default="auto",
        ge=2,
        le=4096,
        description="units of the layer of its own, in which the domains are brought together; auto: 256, "
        "and no such layer where blocks are trained",
    )
    weight: float = Field(
        default=1.0, ge=0, le=1000, description="of the domains' term beside the loss, at the end of its ramp"
    )


def steps_to_adapt(given: AdaptHyperparameters, examples: int) -> int:
    """The steps asked for, or enough for so many labelled examples and for the ramp."""
    return max(_LEAST_STEPS, steps_for(given, examples)) if given.steps == "auto" else given.steps


def blocks_to_adapt(given: AdaptHyperparameters, there_are: int) -> int:
    """How many of the last blocks to train; 0 for none."""
    if given.blocks == "auto":
        return 0
    return there_are if given.blocks == "all" else min(given.blocks, there_are)


def units_for(given: AdaptHyperparameters, blocks: int) -> int | None:
    """Units of the bottleneck; None for no bottleneck."""
    if given.bottleneck == "auto":
        return None if blocks else _UNITS
    return given.bottleneck
