"""Conditional adversarial training: the discriminator also sees which class an example is taken for.

DANN whose discriminator is given the products of features and class probabilities, so that the modes of
the domains are matched class by class; examples of which the network is sure count more (CDAN+E).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from training.deep.adapt_settings import AdaptHyperparameters
from training.methods.base import MethodInfo, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class CdanHyperparameters(AdaptHyperparameters):
    entropy: bool = Field(default=True, description="whether sure examples count more")


class Cdan:
    info = MethodInfo(
        name="cdan",
        title="Conditional domain-adversarial training",
        tasks=("classification",),
        setting="transductive",
        source="Long et al. 2018, Conditional Adversarial Domain Adaptation, equations 4 to 7",
        hyperparameters=CdanHyperparameters,
        needs=("unlabelled", "torch"),
    )

    def run(self, job: Job) -> Result:
        from training.deep.adapting import adapt
        from training.deep.domains import Conditional

        given = CdanHyperparameters.model_validate(job.spec.hyperparameters)
        return adapt(
            job,
            self.info.name,
            given,
            lambda dim, classes: Conditional(dim, classes, entropy=given.entropy),
            {"entropy": given.entropy},
        )


register_procedure(Cdan())
