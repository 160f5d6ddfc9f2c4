"""Training of the first blocks while the last stay as they were pretrained.

Where inputs look or sound different but mean the same, as with another microphone or another speaker, what
has to change lies at the input (surgical fine-tuning, Lee et al. 2022). The head is trained with them, from
the linear probe. With few examples the last blocks are usually the better choice (`finetune`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from training.deep.settings import DeepHyperparameters
from training.methods.base import MethodInfo, Setting, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class FirstLayersHyperparameters(DeepHyperparameters):
    blocks: int = Field(default=1, ge=1, le=1000, description="so many of the first")


class FirstLayers:
    info = MethodInfo(
        name="first_layers",
        title="Fine-tune the first blocks, freeze the last",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Lee, Chen, Tajwar et al. 2022 (surgical fine-tuning)",
        hyperparameters=FirstLayersHyperparameters,
        needs=("torch",),
    )

    def run(self, job: Job) -> Result:
        from training.deep.material import Ground
        from training.deep.tuning import Tuning, block_rates, run

        given = FirstLayersHyperparameters.model_validate(job.spec.hyperparameters)
        ground = Ground.of(job)
        chosen = ground.blocks[: given.blocks]
        rates = block_rates(given, chosen)
        setting: Setting = {"blocks": len(chosen)}
        return run(job, ground, given, Tuning(self.info.name, chosen[0].tap, rates, setting, refit=True))


register_procedure(FirstLayers())
