"""Low-rank adaptation: the pretrained matrices stay, and for each a product of two thin ones is learnt.

W + (alpha / r) P Q. Far fewer numbers are learnt than in `finetune`, and none of them is left at the end:
the product is added to the matrix, so the served graph is the backbone's own. The linear probe starts the
head.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from training.deep.settings import BlockHyperparameters, blocks_for
from training.methods.base import MethodInfo, Setting, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class LoraHyperparameters(BlockHyperparameters):
    rank: int = Field(default=8, ge=1, le=256, description="columns of the thin matrices")
    alpha: float = Field(default=16.0, gt=0, le=1e4, description="the product counts alpha / rank times")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="of the topmost block")


class Lora:
    info = MethodInfo(
        name="lora",
        title="Low-rank adaptation of the last blocks",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Hu et al. 2022 (LoRA), section 4.1",
        hyperparameters=LoraHyperparameters,
        needs=("torch",),
    )

    def run(self, job: Job) -> Result:
        from training.deep.adapters import low_rank
        from training.deep.material import Ground
        from training.deep.tuning import Tuning, rates_of, run

        given = LoraHyperparameters.model_validate(job.spec.hyperparameters)
        ground = Ground.of(job)
        last = blocks_for(given, len(ground.problem), len(ground.blocks))
        tap, rates = rates_of(ground, given, last)
        setting: Setting = {"blocks": last, "rank": given.rank, "alpha": given.alpha}
        build = low_rank(rates, given.rank, given.alpha)
        return run(job, ground, given, Tuning(self.info.name, tap, rates, setting, build=build, refit=True))


register_procedure(Lora())
