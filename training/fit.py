"""A fine-tuning job from its FitSpec to its artefact: load, features, select, fit, report, export."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from models.errors import JobFailed
from models.events import Emit
from models.features import FeatureCache
from models.fitspec import FitSpec
from models.manifest import REPORT, Manifest
from models.report import Adaptation, Baseline, Report, Validation
from training import head_track, reporting
from training.adaptation.report import describe
from training.advice import advice
from training.artefact import versions
from training.auto import AutoHyperparameters, deepen
from training.deep.graft import Graft
from training.evaluate import Evidence, estimate, task_metrics
from training.export import export
from training.features import FeatureSource
from training.folds import judged_rows
from training.honesty import Doubts, assess, least_examples
from training.job import Job, Result, load_data
from training.methods import METHODS, PROCEDURES, Problem, find
from training.methods.base import Hyperparameters
from training.phases import Phases
from training.portfolio import REFERENCE
from training.problem import encode, known, labelled_rows
from training.select import AUTO, DEFAULT, Trial, try_method
from training.source import Source

_BASELINE_METHOD = "ridge"  # closed form, serves every task


@dataclass(frozen=True)
class Outcome:
    """What a job leaves in its output folder."""

    manifest: Manifest
    report: Report


def run(spec: FitSpec, emit: Emit) -> Outcome:
    """Fit what `spec` asks for and write the artefact and its report into `spec.output`.

    The same spec, data and versions give the same manifest digest. Raises JobFailed when the job cannot
    succeed, CorruptArtefact when its files are not what they should be.
    """
    phases = Phases(emit)
    with phases.phase("load", "Reading the examples."):
        job = _open(spec, phases)
    with phases.phase("features", "Gathering features."):
        _ = job.sources, job.rivals
    result, trials = _train(job)
    with phases.phase("report", "Comparing with baselines."):
        doubts = assess(job, result)
        report = _report(job, result, trials, doubts)
    with phases.phase("export", "Exporting and checking the graph."):
        manifest = export(job, result, doubts)
    return _finish(spec, manifest, report, phases)


def _open(spec: FitSpec, phases: Phases) -> Job:
    _check_method(spec)
    info = find(spec.method)
    data = load_data(spec, labels_optional=info is not None and info.labels_optional)
    if info is not None and "unlabelled" in info.needs and data.target is None:
        message = f"{info.name} adapts to unlabelled examples, and there are none: give an unlabelled_file."
        raise JobFailed(message, code="no_unlabelled_data")
    if info is not None and "target_labels" in info.needs and not data.in_target.any():
        message = f"{info.name} needs labelled examples of the target: give some in the unlabelled_file."
        raise JobFailed(message, code="no_target_labels")
    return Job(spec, data, FeatureSource(FeatureCache(Path(spec.features)), spec.threads), phases)


def _check_method(spec: FitSpec) -> None:
    if spec.method == AUTO:
        _check_hyperparameters(AUTO, AutoHyperparameters, spec)
        return
    info = find(spec.method)
    if info is None:
        raise JobFailed(
            f"There is no such method; there are: {', '.join(METHODS | PROCEDURES)}.", code="bad_method"
        )
    if spec.task not in info.tasks or spec.modality not in info.modalities:
        raise JobFailed(f"{info.name} does not serve {spec.task} of {spec.modality}.", code="method_mismatch")
    _check_hyperparameters(info.name, info.hyperparameters, spec)


def _check_hyperparameters(name: str, schema: type[Hyperparameters], spec: FitSpec) -> None:
    try:
        schema.model_validate(spec.hyperparameters)
    except ValidationError as error:
        fields = sorted({".".join(map(str, problem["loc"][:1])) for problem in error.errors()})
        message = f"Hyperparameters of {name} that do not fit its schema: {', '.join(fields)}."
        raise JobFailed(message, code="bad_hyperparameters") from None


def _train(job: Job) -> tuple[Result, tuple[Trial, ...]]:
    """The result, and what was tried on cached features on the way."""
    procedure = PROCEDURES.get(job.spec.method)
    if procedure is None:
        started = time.monotonic()
        result, choice = head_track.run(job)
        if job.spec.method == AUTO:
            with job.phases.phase("fit", "Considering to train below the top."):
                result = deepen(job, result, started)
        return result, choice.trials
    with job.phases.phase("train", f"Training {procedure.info.name}."):
        return procedure.run(job), ()


def _baselines(job: Job, result: Result, trials: tuple[Trial, ...]) -> tuple[Baseline, ...]:
    """Cheap alternatives under the same folds: guessing, nearest neighbours, ridge on raw inputs.

    Any method that was asked for by name is also held against the linear probe on the features as they are.
    """
    source = _source_of(job, result)
    if source is None:
        return ()
    folds = result.folds if isinstance(result.head, Graft) else job.folds
    near = [t for t in trials if t.method == "knn" and _same(t.source, source)]
    near = near or try_method(source, "knn", {}, folds, DEFAULT)
    raw = [try_method(rival, _BASELINE_METHOD, {}, folds, DEFAULT)[0] for rival in job.rivals]
    raw += [t for t in trials if t.source.backbone.baseline and not _same(t.source, source)]
    linear = REFERENCE[job.spec.task]
    itself = job.spec.method == linear and not isinstance(result.head, Graft)
    known = itself or job.spec.method == AUTO
    probe = [] if known else try_method(source, linear, {}, folds, DEFAULT)
    return (
        reporting.guess_baseline(source.problem.take(judged_rows(source.problem))),
        *(baseline for trial in [*probe, near[0], *raw] for baseline in reporting.trial_baseline(trial)),
    )


def _source_of(job: Job, result: Result) -> Source | None:
    """The features of the result's backbone, at its tap if they were gathered; None without examples."""
    if not len(job.data.pack):
        return None
    known = [*job.sources, *job.rivals]
    same = [source for source in known if source.backbone.digest == result.backbone.digest]
    return next((source for source in same if source.tap == result.tap), same[0] if same else None)


def _same(a: Source, b: Source) -> bool:
    return (a.backbone.digest, a.tap) == (b.backbone.digest, b.tap)


def _report(job: Job, result: Result, trials: tuple[Trial, ...], doubts: Doubts) -> Report:
    spec, data, evidence = job.spec, job.data, result.evidence
    info = (METHODS | PROCEDURES)[result.method].info
    baselines = _baselines(job, result, trials) if result.baselines is None else result.baselines
    return Report(
        job=spec.job_id,
        task=spec.task,
        modality=spec.modality,
        setting=info.setting,
        method=result.method,
        hyperparameters=result.setting,
        backbone=result.backbone.id,
        tap=result.tap,
        examples=len(data.pack),
        classes=data.pack.counts(),
        unlabelled=data.unlabelled,
        estimate=result.estimate or estimate(evidence, result.folds, least_examples(_whole(job))),
        metrics={**evidence.metrics, **doubts.metrics, **result.metrics},
        per_class=reporting.class_reports(_counted(job, evidence), evidence),
        confusion=reporting.confusion(evidence),
        calibration=reporting.calibration(evidence),
        baselines=baselines,
        candidates=result.candidates,
        validation=_validate(job, result, doubts),
        adaptation=result.adaptation or _domains(job, result),
        timings={},
        digests={"training": spec.training_digest, "backbone": result.backbone.digest},
        seed=spec.seed,
        versions=versions(),
        warnings=(*reporting.warnings(_whole(job), evidence, baselines), *result.warnings),
        advice=advice(_counted(job, evidence), evidence),
    )


def _domains(job: Job, result: Result) -> Adaptation | None:
    """How far apart the domains lie, whatever the method made of it."""
    source = _source_of(job, result)
    return None if source is None else describe(source)


def _whole(job: Job) -> Problem:
    return job.sources[0].raw


def _counted(job: Job, evidence: Evidence) -> Problem:
    """The examples by the classes that were tested: those of the job, or the ones described for it."""
    whole = _whole(job)
    return whole if whole.labels == evidence.problem.labels else evidence.problem


def _validate(job: Job, result: Result, doubts: Doubts) -> Validation | None:
    """Metrics on the validation file; rows of classes unknown to the model are counted, not scored."""
    if job.spec.validation_pack is None:
        return None
    pack = job.read_pack(job.spec.validation_pack)
    labelled = pack.select(labelled_rows(pack))
    pack = labelled.select([i for i, label in enumerate(labelled.labels) if known(label, result.labels)])
    unknown = len(labelled) - len(pack)
    if not len(pack):
        return Validation(n=0, metrics={}, unknown_labels=unknown)
    X, logits = result.features(job, pack), result.logits(job, pack)
    y = encode(job.spec.task, pack.labels, result.labels)
    problem = Problem(X, y, job.spec.task, result.labels, job.spec.seed)
    metrics = {**task_metrics(problem, logits), **doubts.on(problem, logits)}
    return Validation(n=len(pack), metrics=metrics, unknown_labels=unknown)


def _finish(spec: FitSpec, manifest: Manifest, report: Report, phases: Phases) -> Outcome:
    final = report.model_copy(
        update={"timings": phases.seconds, "digests": {**report.digests, "artefact": manifest.digest}}
    )
    (Path(spec.output) / REPORT).write_bytes(final.canonical())
    phases.say(
        _summary(final), phase="done", progress=1.0, method=final.method, estimate=final.estimate.value
    )
    return Outcome(manifest, final)


def _summary(report: Report) -> str:
    guess = report.estimate
    if guess.value is None:
        return f"{report.method} on {report.backbone}: no estimate, nothing could be held out."
    text = f"{report.method} on {report.backbone}: {guess.metric} {guess.value:.3f}"
    if guess.low is None:
        return f"{text} (too few examples for an interval)."
    return f"{text} (95 % interval {guess.low:.3f} to {guess.high:.3f})."
