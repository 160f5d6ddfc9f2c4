"""Fine-tuning of the last k blocks of the backbone, or of all of it.

The linear probe comes first and starts the head (LP-FT, Kumar et al. 2022); of classes another one, on the
trained features, ends it where that is better out of fold. Lower blocks learn more slowly (discriminative
rates, Howard and Ruder 2018); the statistics of batch normalisation stay as they were pretrained. With few
examples only the last block is trained (BiT-HyperRule scales training with data, Kolesnikov et al. 2020).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.deep.settings import BlockHyperparameters, blocks_for
from training.methods.base import MethodInfo, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class FineTune:
    info = MethodInfo(
        name="finetune",
        title="Fine-tune the last blocks of the backbone",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Kumar et al. 2022 (LP-FT); Howard and Ruder 2018 (discriminative rates)",
        hyperparameters=BlockHyperparameters,
        needs=("torch",),
    )

    def run(self, job: Job) -> Result:
        from training.deep.material import Ground
        from training.deep.tuning import Tuning, rates_of, run

        given = BlockHyperparameters.model_validate(job.spec.hyperparameters)
        ground = Ground.of(job)
        last = blocks_for(given, len(ground.problem), len(ground.blocks))
        tap, rates = rates_of(ground, given, last)
        return run(job, ground, given, Tuning(self.info.name, tap, rates, {"blocks": last}, refit=True))


register_procedure(FineTune())
