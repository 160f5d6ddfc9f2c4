"""Hyperparameters that every method with a training loop shares."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from training.methods.base import Auto, Hyperparameters, Problem, Setting

Augment = Literal["none", "light", "strong", "randomise"]


class DeepHyperparameters(Hyperparameters):
    """`auto` steps: 20 passes over the examples, at least 60 steps and at most 2,000."""

    steps: Auto | int = Field(default="auto", ge=1, le=100_000)
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="of the topmost block")
    head_rate: float = Field(default=1e-3, gt=0, le=1, description="learning rate of the head")
    layer_decay: float = Field(default=0.7, gt=0, le=1, description="rate of a block over that of the next")
    weight_decay: float = Field(default=1e-4, ge=0, le=1)
    batch_size: int = Field(default=32, ge=2, le=1024)
    folds: int = Field(default=3, ge=2, le=10, description="trainings that the estimate is made from")
    augment: Augment = Field(
        default="none",
        description="how much the examples are varied, text never; randomise: beyond what is likely, "
        "pictures on random grounds, for a target that looks different",
    )
    time_budget_s: float = Field(
        default=30.0, gt=0, le=86_400, description="for all trainings together; steps are cut to fit"
    )

    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: a training is too dear to be tried in many."""
        return [{}]


class BlockHyperparameters(DeepHyperparameters):
    """Which part of the backbone is trained."""

    blocks: Auto | Literal["all"] | Annotated[int, Field(ge=1, le=1000)] = Field(
        default="auto",
        description="so many of the last; auto: 1 below 200 examples, 2 below 2,000, then half of them",
    )


_PASSES, _LEAST, _MOST = 20, 60, 2000


def steps_for(given: DeepHyperparameters, examples: int) -> int:
    """The steps asked for, or enough passes over so many examples."""
    if given.steps != "auto":
        return given.steps
    return min(_MOST, max(_LEAST, _PASSES * examples // given.batch_size))


def blocks_for(given: BlockHyperparameters, examples: int, there_are: int) -> int:
    """How many of the last blocks to train."""
    if given.blocks == "all":
        return there_are
    if given.blocks != "auto":
        return min(given.blocks, there_are)
    if examples < 200:
        return 1
    return min(2 if examples < 2000 else (there_are + 1) // 2, there_are)
