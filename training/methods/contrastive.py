"""Fine-tuning for comparison: what is of one class comes to lie together, also of classes yet unseen.

Beside the log-loss of the labels a term pulls pairs of one class together and pushes all others apart
(supervised contrastive learning, Khosla et al. 2020; with the log-loss, Gunel et al. 2021), as the twin
networks of Koch et al. 2015 learn their comparison from pairs. Every batch holds pairs. It is meant as the
first stage of a chain: many classes here, then `siamese` or `prototypes` on new ones, whose `model` this is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from training.deep.settings import BlockHyperparameters, blocks_for
from training.methods.base import MethodInfo, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class ContrastiveHyperparameters(BlockHyperparameters):
    weight: float = Field(default=1.0, gt=0, le=1e3, description="of the pairs beside the log-loss")
    temperature: float = Field(default=0.2, ge=0.01, le=10, description="t in exp(cosine / t)")


class Contrastive:
    info = MethodInfo(
        name="contrastive",
        title="Fine-tune so that what is of one class lies together",
        tasks=("classification",),
        setting="inductive",
        source="Khosla et al. 2020, equation 2; Gunel et al. 2021; Koch, Zemel, Salakhutdinov 2015",
        hyperparameters=ContrastiveHyperparameters,
        needs=("torch",),
    )

    def run(self, job: Job) -> Result:
        from training.deep.material import Ground
        from training.deep.pairs import Together
        from training.deep.tuning import Tuning, rates_of, run

        given = ContrastiveHyperparameters.model_validate(job.spec.hyperparameters)
        ground = Ground.of(job)
        last = blocks_for(given, len(ground.problem), len(ground.blocks))
        tap, rates = rates_of(ground, given, last)
        tuning = Tuning(
            self.info.name,
            tap,
            rates,
            {"blocks": last, "weight": given.weight, "contrast": given.temperature},
            extras=lambda network, rows, problem: [Together(given.weight, given.temperature)],
            paired=True,
            refit=True,
        )
        return run(job, ground, given, tuning)


register_procedure(Contrastive())
