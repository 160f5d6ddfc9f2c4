"""The rules against harm, and what a report says of the domains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.fitspec import BackboneChoice
from tests.training_support import blobs
from training.adaptation.guards import one_shot_share, pool_share, stands_apart
from training.adaptation.ladder import choose_adaptation, reverse_hits
from training.adaptation.report import describe
from training.folds import make_folds
from training.methods import METHODS, Problem
from training.methods.base import Alignment
from training.select import Trial, try_method
from training.source import Source

BACKBONE = BackboneChoice(id="text/tiny", digest="0" * 64, folder="nowhere", taps=("top",))
OFFSET = np.array([2.5, -2.5, 2.5, 0, 0, 0], np.float32)


def two_domains(offset: np.ndarray, targets: int = 60) -> Source:
    """Blobs and the first `targets` of others, class by class, moved by `offset`."""
    there = blobs("classification", 20, seed=1).X[:targets]
    return Source(BACKBONE, "top", replace(blobs("classification", 20), target=there + offset))


def anchor_of(source: Source) -> Trial:
    return try_method(source, "logistic", {"C": 10}, make_folds(source.problem))[0]


def test_share_of_the_pool_by_hand() -> None:
    assert pool_share(4, 4) == 0.5
    assert pool_share(10, 7) == pytest.approx(1 / (1 + np.exp(-2.1)))
    assert pool_share(7, 10) == pytest.approx(1 - pool_share(10, 7))
    assert [one_shot_share(hits) for hits in (0.49, 0.5, 1.0)] == [0, 1, 1]


def test_shift_is_climbed_and_nothing_of_it_is_lost() -> None:
    source = two_domains(OFFSET)
    climb = choose_adaptation(anchor_of(source), make_folds(source.problem))
    assert climb.kept.method in ("coral", "self_training")
    assert climb.kept.source.transductive
    learning = climb.kept.source.learning
    head = METHODS[climb.kept.method].fit(learning, [climb.kept.setting])[0].head
    there = blobs("classification", 20, seed=1).y
    assert (head.logits(learning.target).argmax(axis=1) == there).mean() > 0.95
    assert [trial.method for trial in climb.tried] == ["coral", "coral", "self_training"]


def test_same_domain_keeps_the_anchor() -> None:
    source = two_domains(np.zeros(6, np.float32))
    anchor = anchor_of(source)
    assert choose_adaptation(anchor, make_folds(source.problem)).kept is anchor


@pytest.mark.parametrize(
    ("offset", "rows", "apart"), [(0.0, 60, False), (0.0, 20, False), (2.0, 60, True), (2.0, 20, True)]
)
def test_target_outside_the_source_stands_apart(offset: float, rows: int, apart: bool) -> None:
    source, target = (blobs("classification", 20, seed=seed).X.astype(float) for seed in (0, 1))
    assert stands_apart(source, target[:rows] + offset) is apart


def test_one_source_row_tells_nothing() -> None:
    assert not stands_apart(np.zeros((1, 2)), np.ones((9, 2)))


def test_target_of_one_class_is_not_adapted_to() -> None:
    """Means that differ because the classes do: bringing them together would ruin the head."""
    source = two_domains(np.zeros(6, np.float32), targets=20)
    anchor = anchor_of(source)
    assert choose_adaptation(anchor, make_folds(source.problem)).kept is anchor


@pytest.mark.parametrize("change", [{"target": None}, {"task": "multilabel"}])
def test_only_classification_with_a_target_is_adapted(change: dict[str, object]) -> None:
    source = two_domains(OFFSET)
    anchor = replace(anchor_of(source), source=replace(source, raw=replace(source.raw, **change)))
    climb = choose_adaptation(anchor, make_folds(source.problem))
    assert climb.kept is anchor
    assert climb.tried == ()


def test_labels_of_the_target_decide_where_there_are_enough() -> None:
    source = two_domains(OFFSET)
    there = blobs("classification", 6, seed=2)
    raw = source.raw
    X, y = np.concatenate([raw.X, there.X + OFFSET]), np.concatenate([raw.y, there.y])
    marked = replace(raw, X=X, y=y, in_target=np.arange(len(X)) >= len(raw))
    source = replace(source, raw=marked)
    folds = make_folds(source.problem)
    climb = choose_adaptation(anchor_of(source), folds)
    assert len(climb.tried[0].evidence.hits) == len(there)
    assert climb.tried[0].evidence.hits.mean() >= climb.kept.evidence.hits.mean() - 0.1


def test_way_there_and_back_is_right_where_the_domains_agree() -> None:
    source = replace(two_domains(np.zeros(6, np.float32)), transductive=True)
    folds = make_folds(source.problem)
    hits = reverse_hits(source.problem, folds, "logistic", {"C": 10.0})
    assert hits.mean() > 0.95


def test_report_tells_the_domains_apart_before_and_not_after() -> None:
    source = replace(two_domains(OFFSET), transductive=True)
    fitted = METHODS["coral"].fit(
        source.learning, METHODS["coral"].info.hyperparameters().grid(source.problem)
    )
    told = describe(source, fitted[0].alignment)
    assert told is not None
    assert told.a_distance_before is not None
    assert told.a_distance_after is not None
    assert told.a_distance_before > 1.5
    assert told.a_distance_after < 0.5
    assert (told.source_examples, told.target_examples, told.target_labelled) == (60, 60, 0)
    assert told.estimate_domain == "source"
    assert told.effective_sample_size is None


def test_report_of_weights_says_what_they_are_worth() -> None:
    source = replace(two_domains(np.zeros(6, np.float32)), transductive=True)
    weights = np.r_[np.ones(30), np.zeros(30)]
    told = describe(source, Alignment(lambda rows: rows, weights))
    assert told is not None
    assert told.effective_sample_size == pytest.approx(30)


def test_method_that_does_not_adapt_has_no_distance_after() -> None:
    told = describe(two_domains(OFFSET))
    assert told is not None
    assert told.a_distance_after is None


@pytest.mark.parametrize("marks", [None, np.ones(60, bool)])
def test_one_domain_has_nothing_to_tell(marks: np.ndarray | None) -> None:
    problem: Problem = replace(blobs("classification", 20), in_target=marks)
    assert describe(Source(BACKBONE, "top", problem)) is None


def test_labelled_target_makes_the_estimate_one_of_the_target() -> None:
    problem = replace(blobs("classification", 20), in_target=np.arange(60) % 2 == 0)
    told = describe(Source(BACKBONE, "top", problem))
    assert told is not None
    assert told.estimate_domain == "target"
    assert (told.source_examples, told.target_examples, told.target_labelled) == (30, 0, 30)
