"""Fine-tuning that stays near its start: a penalty on how far the weights go from the pretrained ones.

Omega(w) = alpha / 2 |w_S - w_S0|^2 + beta / 2 |w_head|^2, where w_S0 are the weights that training starts
from, the parent's in a chain. It takes the place of weight decay, which pulls towards zero. The linear
probe starts the head, as in `finetune`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from training.deep.settings import BlockHyperparameters, blocks_for
from training.methods.base import MethodInfo, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class L2SpHyperparameters(BlockHyperparameters):
    alpha: float = Field(
        default=0.1, ge=0, le=1e4, description="on the squared distance to the pretrained weights"
    )
    beta: float = Field(default=0.01, ge=0, le=1e4, description="on the squared weights of the head")
    weight_decay: float = Field(default=0.0, ge=0, le=1)


class L2Sp:
    info = MethodInfo(
        name="l2_sp",
        title="Fine-tune, penalised for leaving the pretrained weights",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Li, Grandvalet, Davoine 2018, equation 2 (L2-SP)",
        hyperparameters=L2SpHyperparameters,
        needs=("torch",),
    )

    def run(self, job: Job) -> Result:
        from training.deep.material import Ground
        from training.deep.penalties import StartingPoint
        from training.deep.tuning import Tuning, rates_of, run

        given = L2SpHyperparameters.model_validate(job.spec.hyperparameters)
        ground = Ground.of(job)
        last = blocks_for(given, len(ground.problem), len(ground.blocks))
        tap, rates = rates_of(ground, given, last)
        tuning = Tuning(
            self.info.name,
            tap,
            rates,
            {"blocks": last, "alpha": given.alpha, "beta": given.beta},
            extras=lambda network, rows, problem: [StartingPoint(network, rates, given.alpha, given.beta)],
        )
        return run(job, ground, given, tuning)


register_procedure(L2Sp())
