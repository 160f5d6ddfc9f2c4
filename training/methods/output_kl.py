"""Fine-tuning that keeps its answers near those of the source model (conservative training).

Loss: (1 - rho) loss(labels) + rho KL(p_source | p), the KL divergence for squared error in regression. The
source model is the one that the job starts from, where it has the same classes; else the linear probe on
the pretrained features, which starts the head as in `finetune`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from training.deep.settings import BlockHyperparameters, blocks_for
from training.methods.base import MethodInfo, Setting, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class OutputKlHyperparameters(BlockHyperparameters):
    rho: float = Field(
        default=0.3, ge=0, lt=1, description="share of the source model's answers in what is learnt"
    )


class OutputKl:
    info = MethodInfo(
        name="output_kl",
        title="Fine-tune, held to the source model's answers",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Yu, Yao, Su, Li, Seide 2013 (KL-divergence regularised adaptation)",
        hyperparameters=OutputKlHyperparameters,
        needs=("torch",),
    )

    def run(self, job: Job) -> Result:
        from training.deep.material import Ground
        from training.deep.source_model import towards_source
        from training.deep.tuning import Tuning, rates_of, run

        given = OutputKlHyperparameters.model_validate(job.spec.hyperparameters)
        ground = Ground.of(job)
        last = blocks_for(given, len(ground.problem), len(ground.blocks))
        tap, rates = rates_of(ground, given, last)
        setting: Setting = {"blocks": last, "rho": given.rho}
        extras = towards_source(job, given.rho)
        return run(job, ground, given, Tuning(self.info.name, tap, rates, setting, extras=extras))


register_procedure(OutputKl())
