"""The auto policy: one champion, replaced only on clear evidence."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.base import TaskName
from models.fitspec import BackboneChoice
from tests.training_support import blobs
from training.folds import make_folds
from training.methods import METHODS
from training.methods.base import Problem
from training.select import AUTO, Choice, _thinned, choose, shortlist
from training.source import Source


def backbone(name: str, *, baseline: bool = False) -> BackboneChoice:
    return BackboneChoice(id=name, digest=name, folder="nowhere", taps=("top",), baseline=baseline)


def pick(*sources: Source, method: str = AUTO, **hyperparameters: object) -> Choice:
    return choose(sources, method, hyperparameters, make_folds(sources[0].problem))


def source(problem: Problem, name: str = "real", tap: str = "top", *, baseline: bool = False) -> Source:
    return Source(backbone(name, baseline=baseline), tap, problem)


def rings(n: int = 120) -> Problem:
    """Two classes at two radii: no linear head can tell them apart."""
    rng = np.random.default_rng(0)
    angle, y = rng.random(n) * 2 * np.pi, np.arange(n) % 2
    radius = np.where(y == 0, 1.0, 3.0)
    X = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32)
    return Problem(X, y, "classification", ("inner", "outer"))


@pytest.mark.parametrize(
    ("task", "method"), [("classification", "logistic"), ("multilabel", "logistic"), ("regression", "ridge")]
)
def test_reference_method_stays_where_all_do_well(task: TaskName, method: str) -> None:
    choice = pick(source(blobs(task)))
    assert choice.winner.method == method
    assert choice.winner.setting in ({"C": 10.0}, {"penalty": "auto"})
    assert {t.method for t in choice.trials} > {method}


def test_clearly_better_methods_win_alone_or_pooled() -> None:
    choice = pick(source(rings()))
    assert choice.winner.method in {"knn", "krr", "pool"}
    assert choice.winner.evidence.value == pytest.approx(1, abs=0.02)
    assert next(t for t in choice.trials if t.method == "logistic").evidence.value < 0.7


def test_pool_needs_no_further_fit() -> None:
    problem = rings()
    trial = next(t for t in pick(source(problem)).trials if t.method == "pool")
    fitted = METHODS["pool"].fit(trial.source.learning, [trial.setting])[0]
    assert fitted.setting == trial.setting
    assert "krr" in trial.setting


def test_no_pool_where_nothing_can_be_gained() -> None:
    assert "pool" not in {t.method for t in pick(source(blobs("classification"))).trials}


def test_no_pool_of_numbers() -> None:
    problem = blobs("regression", per_class=20)
    noisy = replace(problem, y=problem.y + np.random.default_rng(0).normal(size=problem.y.shape))
    assert "pool" not in {t.method for t in pick(source(noisy)).trials}


def test_noise_brings_no_challenger_to_the_top() -> None:
    rng = np.random.default_rng(0)
    kept = 0
    for seed in range(10):
        X, y = rng.normal(size=(30, 10)).astype(np.float32), rng.permutation(np.arange(30) % 3)
        winner = pick(source(Problem(X, y, "classification", ("a", "b", "c"), seed))).winner
        kept += winner.setting == {"C": 10.0} or winner.method == "pool"  # which is anchored in it
    assert kept == 10


def test_better_tap_wins() -> None:
    good = blobs("classification")
    noise = Problem(np.random.default_rng(0).normal(size=good.X.shape), good.y, good.task, good.labels)
    winner = pick(source(noise, tap="top"), source(good, tap="low")).winner
    assert winner.source.tap == "low"


def test_declared_baseline_does_not_win_a_tie() -> None:
    problem = blobs("classification")
    winner = pick(source(problem, "pixels", baseline=True), source(problem, "real")).winner
    assert winner.source.backbone.id == "real"


def test_declared_baseline_wins_when_clearly_better() -> None:
    good = blobs("classification", per_class=20)
    noise = Problem(np.random.default_rng(0).normal(size=good.X.shape), good.y, good.task, good.labels)
    winner = pick(source(noise, "real"), source(good, "pixels", baseline=True)).winner
    assert winner.source.backbone.id == "pixels"


def test_named_method_is_the_only_one_tried() -> None:
    choice = pick(source(blobs("classification")), method="knn", neighbours=3, metric="cosine")
    assert [t.setting for t in choice.trials] == [{"neighbours": 3, "metric": "cosine"}]


def test_many_taps_are_shortlisted_by_score() -> None:
    problem = blobs("classification")
    taps = [source(problem, tap=f"layer_{i}") for i in range(8)]
    pixels = source(problem, "pixels", baseline=True)
    scores = {id(tap): float(i % 5) for i, tap in enumerate(taps)}
    listed = shortlist([*taps, pixels], lambda one: scores[id(one)])
    assert [one.tap for one in listed] == ["layer_0", "layer_2", "layer_3", "layer_4", "top"]
    assert listed[-1] is pixels


def test_few_taps_are_all_tried() -> None:
    problem = blobs("classification")
    taps = [source(problem, tap=f"layer_{i}") for i in range(3)]
    assert shortlist(taps, lambda one: 1 / 0) == taps


def test_good_tap_among_many_is_found() -> None:
    good = blobs("classification")
    noise = [
        source(Problem(np.random.default_rng(i).normal(size=good.X.shape), good.y, good.task, good.labels))
        for i in range(7)
    ]
    assert pick(*noise, source(good, tap="low")).winner.source.tap == "low"


def test_one_shot_keeps_the_first_backbone_and_the_default() -> None:
    problem = blobs("classification", per_class=1)
    winner = pick(source(problem, "first"), source(problem, "second")).winner
    assert (winner.source.backbone.id, winner.method) == ("first", "logistic")
    assert winner.evidence.loss is None


def test_progress_ends_at_one() -> None:
    said: list[float] = []
    problem = blobs("classification")
    choose([source(problem)], AUTO, {}, make_folds(problem), lambda share, message: said.append(share))
    assert said == sorted(said)
    assert said[-1] == 1


def named_classes(seed: int = 0) -> Source:
    """Thirty classes with three noisy examples each; the names lie at the classes' true centres."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(30, 40))
    y = np.repeat(np.arange(30), 3)
    X = (centres[y] + 1.2 * rng.normal(size=(90, 40))).astype(np.float32)
    problem = Problem(X, y, "classification", tuple(f"c{c:02}" for c in range(30)))
    return Source(backbone("text"), "top", problem, centres.astype(np.float32))


def test_class_names_are_learnt_from_but_never_tested() -> None:
    plain = named_classes()
    named = replace(plain, uses_names=True)
    folds = make_folds(plain.raw)
    assert (len(named.learning), len(named.problem)) == (120, 90)
    assert named.widen(folds).tested.tolist() == folds.tested.tolist()
    assert plain.widen(folds).fold.tolist() == folds.fold.tolist()


def test_telling_names_are_used_and_empty_ones_are_not() -> None:
    good = named_classes()
    rng = np.random.default_rng(1)
    empty = replace(good, names=rng.permutation(good.names))
    folds = make_folds(good.raw)
    assert choose([good], AUTO, {}, folds).winner.source.uses_names
    assert not choose([empty], AUTO, {}, folds).winner.source.uses_names


def test_names_are_left_alone_when_a_method_was_asked_for() -> None:
    good = named_classes()
    assert not choose([good], "ridge", {}, make_folds(good.raw)).winner.source.uses_names


def one_shot(source: Source) -> Source:
    """Its first example of each class."""
    return replace(source, raw=source.raw.take(np.unique(source.raw.y, return_index=True)[1]))


def test_at_one_shot_names_that_tell_the_classes_apart_are_used() -> None:
    good = one_shot(named_classes())
    empty = replace(good, names=np.random.default_rng(1).permutation(good.names))
    for given, used in ((good, True), (empty, False), (replace(good, names=None), False)):
        winner = pick(given).winner
        assert winner.source.uses_names == used
        assert winner.evidence.loss is None


def test_a_baseline_that_is_better_on_every_row_wins_against_long_tails() -> None:
    """A few huge errors of the champion must not hide that the other hardly errs at all."""
    rng = np.random.default_rng(1)
    y = np.linspace(1, 9, 24)[:, None]
    exact = (y @ rng.normal(size=(1, 3)) + 0.01 * rng.normal(size=(24, 3))).astype(np.float32)
    poor = (y @ rng.normal(size=(1, 3)) + 3 * rng.standard_t(1.5, size=(24, 3))).astype(np.float32)
    real, raw = (Problem(X, y, "regression", ("value",)) for X in (poor, exact))
    choice = pick(source(real, "real"), source(raw, "raw", baseline=True))
    assert choice.winner.source.backbone.id == "raw"


def many_classes(classes: int = 60, each: int = 12, dim: int = 24) -> Source:
    """More classes than `auto` tries everything on; the names lie near the true centres."""
    rng = np.random.default_rng(4)
    centres = rng.normal(size=(classes, dim))
    y = np.repeat(np.arange(classes), each)
    X = (centres[y] + 0.9 * rng.normal(size=(len(y), dim))).astype(np.float32)
    problem = Problem(X, y, "classification", tuple(f"c{c:02}" for c in range(classes)))
    return Source(backbone("text"), "top", problem, (centres + 0.1).astype(np.float32))


def test_taps_are_ranked_on_some_classes_with_all_their_examples() -> None:
    """Fewer examples of every class would favour other taps than those that the model is fitted on."""
    problem = many_classes(classes=150, each=10).raw
    thin = _thinned(problem)
    assert len(thin) == 600
    assert np.bincount(thin.y).tolist() == [10] * 60
    assert set(thin.labels) <= set(problem.labels)
    first = np.flatnonzero(problem.y == problem.labels.index(thin.labels[1]))
    assert np.array_equal(thin.X[thin.y == 1], problem.X[first])


def test_of_few_large_classes_rows_are_ranked() -> None:
    thin = _thinned(many_classes(classes=4, each=500).raw)
    assert np.bincount(thin.y).tolist() == [125] * 4


def test_of_a_large_problem_only_what_leads_is_tried_on_every_fold() -> None:
    good = many_classes()
    folds = make_folds(good.raw)
    choice = choose([good], AUTO, {}, folds)
    tested = {(t.source.uses_names, t.method, str(t.setting)): len(t.evidence.logits) for t in choice.trials}
    assert choice.winner.source.uses_names
    assert len(choice.winner.evidence.logits) == len(good.raw)
    assert tested[(False, "logistic", "{'C': 10.0}")] < len(good.raw)
    assert tested[(True, "logistic", "{'C': 10.0}")] == len(good.raw)
