"""A fine-tuning job from its FitSpec to its artefact: load, features, select, fit, report, export."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from models.base import sha256
from models.dataset import Pack
from models.errors import CorruptArtefact, JobFailed
from models.events import Emit
from models.features import FeatureCache
from models.fitspec import BackboneChoice, FitSpec
from models.manifest import REPORT, BackboneRef, Manifest
from models.report import Baseline, Report, Validation
from training import reporting
from training.artefact import check_parity, golden_bytes, versions, write_artefact
from training.evaluate import estimate, task_metrics
from training.features import FeatureSource
from training.folds import Folds, make_folds
from training.heads import Head
from training.methods import METHODS, Problem
from training.methods.base import Setting
from training.metrics import conformal_half_width
from training.phases import Phases
from training.problem import check_trainable, encode, known, label_names, labelled_rows
from training.select import AUTO, DEFAULT, Choice, Trial, choose, try_method
from training.source import Source

_BASELINE_METHOD = "ridge"  # closed form, serves every task


@dataclass(frozen=True)
class Outcome:
    """What a job leaves in its output folder."""

    manifest: Manifest
    report: Report


@dataclass(frozen=True, eq=False)
class Data:
    """The labelled examples, as read."""

    pack: Pack
    names: tuple[str, ...]
    y: NDArray[Any]
    unlabelled: int


@dataclass(frozen=True, eq=False)
class Result:
    """The winner, fitted on every example and taking raw features."""

    trial: Trial
    head: Head
    setting: Setting


def run(spec: FitSpec, emit: Emit) -> Outcome:
    """Fit what `spec` asks for and write the artefact and its report into `spec.output`.

    The same spec, data and versions give the same manifest digest. Raises JobFailed when the job cannot
    succeed, CorruptArtefact when its files are not what they should be.
    """
    phases = Phases(emit)
    with phases.phase("load", "Reading the examples."):
        data = _load(spec)
        source = FeatureSource(FeatureCache(Path(spec.features)), spec.threads)
    with phases.phase("features", "Gathering features."):
        sources = _sources(spec, data, spec.backbones, source, phases)
        rivals = _sources(spec, data, _rivals(spec), source, phases)
    with phases.phase("select", f"Cross-validating on {len(data.pack)} examples."):
        folds = make_folds(sources[0].problem)
        choice = choose(sources, spec.method, spec.hyperparameters, folds, phases.progress)
    with phases.phase("fit", f"Fitting {choice.winner.method} on every example."):
        result = _fit(choice.winner)
    with phases.phase("report", "Comparing with baselines."):
        report = _report(spec, data, choice, result, folds, rivals)
        report = report.model_copy(update={"validation": _validate(spec, data, result, source, phases)})
    with phases.phase("export", "Exporting and checking the graph."):
        manifest = _export(spec, data, result, source, phases)
    return _finish(spec, manifest, report, phases)


def _load(spec: FitSpec) -> Data:
    _check_method(spec)
    pack = _read_pack(spec.training_pack, spec.training_digest)
    check_trainable(pack)
    labelled = pack.select(labelled_rows(pack))
    names = label_names(labelled)
    more = len(_read_pack(spec.unlabelled_pack)) if spec.unlabelled_pack else 0
    return Data(labelled, names, encode(spec.task, labelled.labels, names), pack.unlabelled + more)


def _read_pack(path: str, digest: str | None = None) -> Pack:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise JobFailed("The job's data is gone; it was deleted.", code="data_gone") from None
    if digest is not None and sha256(content) != digest:
        raise CorruptArtefact("The training data does not match its digest.")
    return Pack.from_bytes(content)


def _check_method(spec: FitSpec) -> None:
    if spec.method == AUTO:
        if spec.hyperparameters:
            raise JobFailed("The method auto takes no hyperparameters.", code="bad_hyperparameters")
        return
    if spec.method not in METHODS:
        raise JobFailed(f"There is no such method; there are: {', '.join(METHODS)}.", code="bad_method")
    info = METHODS[spec.method].info
    if spec.task not in info.tasks or spec.modality not in info.modalities:
        raise JobFailed(f"{info.name} does not serve {spec.task} of {spec.modality}.", code="method_mismatch")
    try:
        info.hyperparameters.model_validate(spec.hyperparameters)
    except ValidationError as error:
        fields = sorted({".".join(map(str, problem["loc"][:1])) for problem in error.errors()})
        message = f"Hyperparameters of {info.name} that do not fit its schema: {', '.join(fields)}."
        raise JobFailed(message, code="bad_hyperparameters") from None


def _rivals(spec: FitSpec) -> tuple[BackboneChoice, ...]:
    """Baseline backbones that are not candidates anyway."""
    used = {choice.digest for choice in spec.backbones}
    return tuple(choice for choice in spec.baselines if choice.digest not in used)


def _sources(
    spec: FitSpec, data: Data, choices: tuple[BackboneChoice, ...], source: FeatureSource, phases: Phases
) -> list[Source]:
    found = []
    named = data.pack.label_names()
    for choice in choices:
        done = partial(_embedding, phases, choice.id)
        names = {} if named is None else source.features(choice, named, done)
        for tap, X in source.features(choice, data.pack, done).items():
            problem = Problem(X, data.y, spec.task, data.names, spec.seed)
            found.append(Source(choice, tap, problem, names.get(tap)))
    return found


def _embedding(phases: Phases, backbone: str, done: int, total: int) -> None:
    phases.progress(done / total, f"Computing features with {backbone}: {done} of {total}.")


def _fit(trial: Trial) -> Result:
    """The chosen setting, fitted on all, with the temperature that its out-of-fold predictions asked for."""
    fitted = METHODS[trial.method].fit(trial.source.learning, [trial.setting])[0]
    factor = trial.evidence.factor
    head = fitted.head.scaled(factor).lifted(trial.source.frame)
    setting = fitted.setting
    if head.activation != "identity":
        setting = {**setting, "temperature": 1 / factor}
    if trial.source.uses_names:
        setting = {**setting, "label_names": True}
    return Result(trial, head, setting)


def _baselines(choice: Choice, folds: Folds, rivals: list[Source]) -> tuple[Baseline, ...]:
    source = choice.winner.source
    near = [t for t in choice.trials if t.method == "knn" and t.source is source]
    near = near or try_method(source, "knn", {}, folds, DEFAULT)
    raw = [try_method(rival, _BASELINE_METHOD, {}, folds, DEFAULT)[0] for rival in rivals]
    raw += [t for t in choice.trials if t.source.backbone.baseline and t.source is not source]
    return (
        reporting.guess_baseline(source.problem),
        *(baseline for trial in [near[0], *raw] for baseline in reporting.trial_baseline(trial)),
    )


def _report(
    spec: FitSpec, data: Data, choice: Choice, result: Result, folds: Folds, rivals: list[Source]
) -> Report:
    trial, evidence, problem = result.trial, result.trial.evidence, result.trial.source.problem
    baselines = _baselines(choice, folds, rivals)
    return Report(
        job=spec.job_id,
        task=spec.task,
        modality=spec.modality,
        setting=METHODS[trial.method].info.setting,
        method=trial.method,
        hyperparameters=result.setting,
        backbone=trial.source.backbone.id,
        tap=trial.source.tap,
        examples=len(data.pack),
        classes=data.pack.counts(),
        unlabelled=data.unlabelled,
        estimate=estimate(evidence, folds, _least(problem)),
        metrics=evidence.metrics,
        per_class=reporting.class_reports(problem, evidence),
        confusion=reporting.confusion(evidence),
        calibration=reporting.calibration(evidence),
        baselines=baselines,
        candidates=tuple(
            reporting.candidate(t, folds, result.setting if t is trial else None) for t in choice.trials
        ),
        timings={},
        digests={"training": spec.training_digest, "backbone": trial.source.backbone.digest},
        seed=spec.seed,
        versions=versions(),
        warnings=reporting.warnings(problem, evidence, baselines),
    )


def _least(problem: Problem) -> int:
    """Examples of the least class; all of them for regression."""
    return len(problem) if problem.task == "regression" else int(problem.targets.sum(axis=0).min())


def _raw(data: Pack, result: Result, source: FeatureSource, phases: Phases) -> NDArray[np.float32]:
    backbone, tap = result.trial.source.backbone, result.trial.source.tap
    wanted = backbone.model_copy(update={"taps": (tap,)})
    return source.features(wanted, data, partial(_embedding, phases, backbone.id))[tap]


def _validate(
    spec: FitSpec, data: Data, result: Result, source: FeatureSource, phases: Phases
) -> Validation | None:
    """Metrics on the validation file; rows of classes unknown to the model are counted, not scored."""
    if spec.validation_pack is None:
        return None
    pack = _read_pack(spec.validation_pack)
    labelled = pack.select(labelled_rows(pack))
    pack = labelled.select([i for i, label in enumerate(labelled.labels) if known(label, data.names)])
    unknown = len(labelled) - len(pack)
    if not len(pack):
        return Validation(n=0, metrics={}, unknown_labels=unknown)
    X = _raw(pack, result, source, phases)
    problem = Problem(X, encode(spec.task, pack.labels, data.names), spec.task, data.names, spec.seed)
    return Validation(
        n=len(pack), metrics=task_metrics(problem, result.head.logits(X)), unknown_labels=unknown
    )


def _export(spec: FitSpec, data: Data, result: Result, source: FeatureSource, phases: Phases) -> Manifest:
    features = _raw(data.pack, result, source, phases)
    graph = result.head.to_onnx()
    answers = check_parity(result.head, graph, features)
    trial = result.trial
    return write_artefact(
        Path(spec.output),
        graph,
        golden_bytes(data.pack.contents, features, answers),
        task=spec.task,
        labels=data.names,
        input=data.pack.input,
        backbone=BackboneRef(id=trial.source.backbone.id, digest=trial.source.backbone.digest),
        tap=trial.source.tap,
        head=result.head.record(),
        method=trial.method,
        hyperparameters=result.setting,
        interval=_half_width(trial),
        seed=spec.seed,
        dataset_digest=spec.training_digest,
        versions=versions(),
    )


def _half_width(trial: Trial) -> float | None:
    """Regression: half the width of the 95 % interval, from out-of-fold residuals."""
    if trial.source.problem.task != "regression":
        return None
    residuals = np.abs(trial.evidence.logits - trial.evidence.problem.targets).max(axis=1)
    return conformal_half_width(residuals)


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
