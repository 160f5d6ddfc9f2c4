"""Domain-adversarial training: features from which a discriminator cannot tell source from target.

min over features and head, max over the discriminator: loss(labels) - lambda loss(domains), in one step by
a gradient that is reversed on its way from the discriminator to the features, with lambda growing as
2 / (1 + exp(-10 p)) - 1 over the training. With `confusion` uniform the features are instead to make the
discriminator answer one half (Tzeng et al. 2015). By default fixed features pass a bottleneck that is
trained; with `blocks` the backbone is trained from a tap down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from training.deep.adapt_settings import AdaptHyperparameters
from training.methods.base import MethodInfo, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class DannHyperparameters(AdaptHyperparameters):
    confusion: Literal["reversal", "uniform"] = Field(
        default="reversal",
        description="how the features resist the discriminator: its gradient reversed, or a uniform guess",
    )


class Dann:
    info = MethodInfo(
        name="dann",
        title="Domain-adversarial training",
        tasks=("classification", "regression", "multilabel"),
        setting="transductive",
        source="Ganin and Lempitsky 2015; Ganin et al. 2016, equation 9; Tzeng et al. 2015 (uniform)",
        hyperparameters=DannHyperparameters,
        needs=("unlabelled", "torch"),
    )

    def run(self, job: Job) -> Result:
        from training.deep.adapting import adapt
        from training.deep.domains import Reversal, Uniform

        given = DannHyperparameters.model_validate(job.spec.hyperparameters)
        kind = Reversal if given.confusion == "reversal" else Uniform
        own = {"confusion": given.confusion}
        return adapt(job, self.info.name, given, lambda dim, classes: kind(dim), own)


register_procedure(Dann())
