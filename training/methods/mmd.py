"""Maximum mean discrepancy: training brings source and target together in the mean of every kernel feature.

loss + lambda MMD^2 with a mean of Gaussian kernels of five widths (deep adaptation network). With `joint`
features and class probabilities are matched together: the product of their kernels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from models.errors import JobFailed
from training.deep.adapt_settings import AdaptHyperparameters
from training.methods.base import MethodInfo, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class MmdHyperparameters(AdaptHyperparameters):
    joint: bool = Field(
        default=False, description="match features and class probabilities together; classification only"
    )


class Mmd:
    info = MethodInfo(
        name="mmd",
        title="Maximum mean discrepancy of several kernels",
        tasks=("classification", "regression", "multilabel"),
        setting="transductive",
        source="Long et al. 2015 (DAN), equation 4; Long et al. 2017 (joint)",
        hyperparameters=MmdHyperparameters,
        needs=("unlabelled", "torch"),
    )

    def run(self, job: Job) -> Result:
        from training.deep.adapting import adapt
        from training.deep.discrepancy import kernel_distance
        from training.deep.domains import between_answers, between_features

        given = MmdHyperparameters.model_validate(job.spec.hyperparameters)
        if given.joint and job.spec.task != "classification":
            message = "Joint matching needs class probabilities: leave joint out, or classify."
            raise JobFailed(message, code="bad_hyperparameters")
        distance = between_answers if given.joint else between_features(kernel_distance)
        return adapt(job, self.info.name, given, lambda dim, classes: distance, {"joint": given.joint})


register_procedure(Mmd())
