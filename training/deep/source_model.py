"""Whose answers conservative training keeps to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from training.deep.loop import Extra, predict
from training.deep.network import Network
from training.deep.parent import parent_answers
from training.deep.penalties import TowardsSource
from training.deep.tuning import Extras
from training.graft.tail import Rows
from training.heads import activate
from training.job import Job
from training.methods.base import Problem


def towards_source(job: Job, share: float) -> Extras:
    """A term that holds to the parent's answers where it has the same classes, else to the network's first.

    A network begins as its parent's tail and head where these serve, or as the linear probe of the examples
    that it learns from.
    """
    fixed = parent_answers(job)

    def extras(network: Network, rows: Rows, problem: Problem) -> Sequence[Extra]:
        logits = predict(network, rows, np.arange(len(rows))) if fixed is None else fixed
        answers = activate(network.activation, logits)
        spread = float(problem.targets.var()) or 1.0
        return [TowardsSource(answers, problem.task, share, spread)]

    return extras
