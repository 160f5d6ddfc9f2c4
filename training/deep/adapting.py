"""Deep domain adaptation: train on the labels of the source while a term brings the domains together.

The labelled rows of the target, where there are some, join the labelled ones (Tzeng et al. 2015). The same
folds as everywhere judge the training: rows of the source, or of the target where it has labels enough.
What was gained or lost against the same labels without adaptation is part of the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from models.dataset import Pack
from models.errors import JobFailed
from models.report import Adaptation, Candidate, Value
from training import reporting
from training.adaptation.domains import in_target, part
from training.adaptation.report import describe
from training.deep.adapt_settings import AdaptHyperparameters, blocks_to_adapt, steps_to_adapt, units_for
from training.deep.bottleneck import with_bottleneck
from training.deep.domains import HASTE, Distance, DomainTerm, Target
from training.deep.loop import Extra, embed
from training.deep.material import Ground
from training.deep.network import Network
from training.deep.transfer_guard import harm
from training.deep.tuning import Trained, Tuning, build_plain, fit, publish, rates_of
from training.graft.tail import Rows
from training.methods.base import Problem, Setting
from training.portfolio import REFERENCE
from training.select import DEFAULT, Trial, try_method

if TYPE_CHECKING:
    from training.job import Job, Result

Make = Callable[[int, int], Distance]
"""(what the last layer sees, classes) -> the distance of the domains, with what it has to learn itself."""


def adapt(job: Job, method: str, given: AdaptHyperparameters, make: Make, own: Mapping[str, Value]) -> Result:
    """The method's model, with what became of the domains and what the adaptation is worth."""
    ground = Ground.of(job)
    part(ground.problem)  # refuses what has only one domain
    given = given.model_copy(update={"steps": steps_to_adapt(given, len(ground.problem))})
    there, tuning = _plan(ground, method, given, make, own)
    started = time.perf_counter()
    trained = fit(job, ground, given, tuning)
    seconds = time.perf_counter() - started
    result = publish(job, ground, given, tuning, trained)
    trial = Trial(ground.source, method, trained.evidence, seconds)
    plain = try_method(ground.source, REFERENCE[job.spec.task], {}, trained.folds, DEFAULT)[0]
    domains = _domains(ground, trained, there)
    return replace(
        result,
        adaptation=domains,
        candidates=_candidates(plain, trial, result),
        warnings=(*result.warnings, *harm(plain.evidence, trained.evidence, domains)),
    )


def _plan(
    ground: Ground, method: str, given: AdaptHyperparameters, make: Make, own: Mapping[str, Value]
) -> tuple[Rows, Tuning]:
    """The unlabelled target where the trunk ends, and what is trained."""
    blocks = blocks_to_adapt(given, len(ground.blocks)) if given.blocks not in ("auto", 0) else 0
    tap, rates = rates_of(ground, given, blocks) if blocks else (ground.lowest(ground.card.default_tap), {})
    units = units_for(given, blocks)
    setting: Setting = {"blocks": blocks, "bottleneck": units, "weight": given.weight, **own}
    there = ground.pass_through(ground.open(tap), _unlabelled(ground.job))
    target = Target(there, in_target(ground.problem), given.batch_size, ground.problem.seed)

    def extras(network: Network, rows: Rows, problem: Problem) -> list[Extra]:
        classes, dim = network.head_layers()[-1][0].shape
        return [DomainTerm(target, make(dim, classes), given.weight)]

    build = build_plain if units is None else with_bottleneck(units)
    return there, Tuning(method, tap, rates, setting, build, extras, module_rate=HASTE)


def _unlabelled(job: Job) -> Pack:
    if job.data.target is None:
        message = "Adaptation needs unlabelled examples of the target: give an unlabelled_file."
        raise JobFailed(message, code="no_unlabelled_data")
    return job.data.target


def _domains(ground: Ground, trained: Trained, there: Rows) -> Adaptation | None:
    """The domains in the backbone's features and, after, in what the trained last layer sees."""
    before = describe(replace(ground.source, raw=ground.problem))
    network = trained.network
    X, target = (embed(network, rows, np.arange(len(rows))) for rows in (trained.rows, there))
    after = describe(replace(ground.source, raw=replace(ground.problem, X=X, target=target)))
    if before is None or after is None:
        return before
    return before.model_copy(update={"a_distance_after": after.a_distance_before})


def _candidates(plain: Trial, adapted: Trial, result: Result) -> tuple[Candidate, ...]:
    folds = result.folds
    return (
        reporting.candidate(plain, folds, None),
        reporting.candidate(adapted, folds, result.setting),
    )
