"""Layer selection: every tap of the backbone is tried on the examples, and the best is kept.

Which layer transfers depends on the task (Yosinski et al. 2014; Alain and Bengio 2016, linear probes): one
of texture or brightness needs a low tap, one of meaning a high one. Taps are pooled over space or time.
Where there are many, the evidence of a linear model picks four (LogME, You et al. 2021), and the
cross-validated loss of logistic regression, or of ridge for regression, decides among these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from training.methods.base import Hyperparameters, MethodInfo, Problem, Setting, register_procedure

if TYPE_CHECKING:
    from training.job import Job, Result


class SelectLayerHyperparameters(Hyperparameters):
    def grid(self, problem: Problem) -> list[Setting]:
        """One setting: the taps are what is chosen among."""
        return [{}]


class SelectLayer:
    info = MethodInfo(
        name="select_layer",
        title="The best tap of the backbone, with a linear head",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Yosinski et al. 2014; Alain and Bengio 2016; LogME, You et al. 2021",
        hyperparameters=SelectLayerHyperparameters,
    )

    def run(self, job: Job) -> Result:
        from training import head_track  # it knows every method, this one among them
        from training.portfolio import REFERENCE

        result, _ = head_track.run(job.with_method(REFERENCE[job.spec.task], {}).from_the_backbone())
        return result.renamed(self.info.name)


register_procedure(SelectLayer())
