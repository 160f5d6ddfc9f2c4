"""Deep correlation alignment: training brings the covariances of source and target features together.

loss + lambda |C_s - C_t|_F^2 / (4 d^2). The closed form on fixed features is `coral`; here the features
themselves give way, in a bottleneck or from a tap of the backbone down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from training.deep.adapt_settings import AdaptHyperparameters
from training.methods.base import MethodInfo, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class DeepCoralHyperparameters(AdaptHyperparameters):
    weight: float = Field(
        default=10.0,
        ge=0,
        le=1000,
        description="of the domains' term beside the loss, at the end of its ramp",
    )


class DeepCoral:
    info = MethodInfo(
        name="deep_coral",
        title="Correlation alignment by training",
        tasks=("classification", "regression", "multilabel"),
        setting="transductive",
        source="Sun and Saenko 2016, Deep CORAL, equations 1 and 6",
        hyperparameters=DeepCoralHyperparameters,
        needs=("unlabelled", "torch"),
    )

    def run(self, job: Job) -> Result:
        from training.deep.adapting import adapt
        from training.deep.discrepancy import coral_distance
        from training.deep.domains import between_features

        given = DeepCoralHyperparameters.model_validate(job.spec.hyperparameters)
        return adapt(job, self.info.name, given, lambda dim, classes: between_features(coral_distance), {})


register_procedure(DeepCoral())
