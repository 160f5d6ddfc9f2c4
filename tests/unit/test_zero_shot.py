"""Answers with classes that have no example: attributes, class vectors, descriptions."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.base import sha256
from models.dataset import Pack
from models.errors import JobFailed
from models.fitspec import FitSpec
from models.manifest import HEAD, InputSpec
from models.runtime import open_session
from tests.training_support import Bench
from training import fit
from training.methods.attributes import AttributesHyperparameters
from training.methods.attributes import fit as fit_attributes
from training.methods.base import PROCEDURES, Problem
from training.zero_shot.held_out import deal_classes

ATTRIBUTES = ("red", "round", "large")
TABLE = {
    f"{a}{b}{c}": dict(zip(ATTRIBUTES, map(float, (a, b, c)), strict=True))
    for a, b, c in product((0, 1), repeat=3)
}
UNSEEN = ("101", "010")
SEEN = tuple(sorted(set(TABLE) - set(UNSEEN)))
METHODS = ("attributes", "attribute_embedding", "conse")


def things(names: tuple[str, ...], per_class: int = 10, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Features in which each attribute is a direction, in six dimensions, with noise."""
    rng = np.random.default_rng(seed)
    labels = [name for name in names for _ in range(per_class)]
    code = np.array([[2.0 * float(bit) - 1 for bit in label] for label in labels])
    mix = np.linalg.qr(np.random.default_rng(7).normal(size=(6, 6)))[0][:3]
    return (code @ mix + 0.2 * rng.normal(size=(len(labels), 6))).astype(np.float32), labels


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def job(bench: Bench, method: str, **hyperparameters: Any) -> FitSpec:
    X, labels = things(SEEN)
    given = {"attributes": TABLE, **hyperparameters}
    return bench.spec("classification", labels, X, method=method, hyperparameters=given)


def run(spec: FitSpec) -> fit.Outcome:
    return fit.run(spec, lambda event: None)


@pytest.mark.parametrize("method", METHODS)
def test_unseen_classes_are_told_apart(bench: Bench, method: str) -> None:
    spec = job(bench, method)
    outcome = run(spec)
    X, labels = things(UNSEEN, seed=1)
    scores = open_session((Path(spec.output) / HEAD).read_bytes()).run(None, {"features": X})[0]
    answers = [outcome.manifest.labels[i] for i in scores.argmax(axis=1)]
    assert outcome.manifest.labels == tuple(sorted(UNSEEN))
    assert np.mean(np.array(answers) == np.array(labels)) > 0.9
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_estimate_is_of_classes_left_out(bench: Bench, method: str) -> None:
    report = run(job(bench, method)).report
    assert report.setting == "zero-shot"
    assert report.estimate.n == 10 * len(SEEN)
    assert "left out" in report.estimate.how
    assert report.estimate.value is not None
    assert report.estimate.value > 0.8
    assert report.estimate.low is not None
    assert report.estimate.low < report.estimate.value - 0.1  # six classes do not make certain
    assert [b.value for b in report.baselines] == [0.5]
    assert report.warnings == ()


@pytest.mark.parametrize("method", METHODS)
def test_generalised_answers_hold_every_class_and_stacking_favours_the_unseen(
    bench: Bench, method: str, tmp_path: Path
) -> None:
    X, _ = things(tuple(TABLE), seed=2)
    shares = []
    for index, stacking in enumerate((0.0, 50.0)):
        spec = job(bench, method, answers="all", stacking=stacking)
        spec = spec.model_copy(update={"output": str(tmp_path / f"out{index}")})
        outcome = run(spec)
        assert outcome.manifest.labels == tuple(sorted(TABLE))
        scores = open_session((Path(spec.output) / HEAD).read_bytes()).run(None, {"features": X})[0]
        answers = [outcome.manifest.labels[i] for i in scores.argmax(axis=1)]
        shares.append(np.mean([answer in UNSEEN for answer in answers]))
    assert shares[0] < 0.6
    assert shares[1] == 1.0


def test_direct_attribute_prediction_follows_its_formula() -> None:
    X, labels = things(SEEN)
    y = np.array([SEEN.index(label) for label in labels])
    seen = np.array([list(TABLE[name].values()) for name in SEEN])
    unseen = np.array([list(TABLE[name].values()) for name in UNSEEN])
    given = AttributesHyperparameters(attributes=TABLE)
    head = fit_attributes(Problem(X, y, "classification", SEEN), seen, unseen, given)
    identity = fit_attributes(Problem(X, y, "classification", SEEN), seen, np.eye(3), given)
    # The rows of the identity score each attribute alone; a class is the sum over its attributes.
    share = (seen.sum(axis=0) + 1) / (len(seen) + 2)
    odds = identity.logits(X) - (np.log(1 - share) - np.log(share))
    present = 1 / (1 + np.exp(-odds))
    for k, row in enumerate(unseen):
        chance = np.where(row > 0, present / share, (1 - present) / (1 - share)).prod(axis=1)
        other = np.where(unseen[1 - k] > 0, present / share, (1 - present) / (1 - share)).prod(axis=1)
        gap = head.logits(X)[:, k] - head.logits(X)[:, 1 - k]
        np.testing.assert_allclose(gap, np.log(chance) - np.log(other), atol=1e-9)


def test_classes_are_dealt_once_and_enough_stay() -> None:
    groups = deal_classes(10, 3, seed=0)
    assert sorted(np.concatenate(groups)) == list(range(10))
    assert all(3 <= len(group) <= 4 for group in groups)
    assert [len(group) for group in deal_classes(4, 9, seed=0)] == [2, 2]
    assert deal_classes(3, 2, seed=0) == []


def test_too_few_seen_classes_make_no_claim(bench: Bench) -> None:
    X, labels = things(SEEN[:3])
    spec = bench.spec("classification", labels, X, method="conse", hyperparameters={"attributes": TABLE})
    estimate = run(spec).report.estimate
    assert estimate.insufficient_evidence
    assert estimate.value is None


@pytest.mark.parametrize(
    ("table", "code"),
    [
        ({name: TABLE[name] for name in SEEN}, "no_unseen_class"),
        ({name: TABLE[name] for name in (*UNSEEN, *SEEN[:2])}, "class_table"),
        ({**TABLE, "odd": {"red": 1.0}}, "class_table"),
    ],
)
def test_tables_that_do_not_fit_are_refused(bench: Bench, table: Any, code: str) -> None:
    with pytest.raises(JobFailed) as refused:
        run(job(bench, "attributes").model_copy(update={"hyperparameters": {"attributes": table}}))
    assert refused.value.code == code


def described(bench: Bench, labels: list[str | None], X: np.ndarray, descriptions: Any) -> FitSpec:
    """Texts whose class vectors are put into the cache."""
    texts = {"blue sky": [1, 0, 0], "green grass": [0, 1, 0], "a lawn": [0, 0.9, 0.1], "red rose": [0, 0, 1]}
    texts |= {"sky": [1, 0, 0], "lawn": [0, 1, 0], "rose": [0, 0, 1]}
    pack = Pack(
        "classification",
        InputSpec(modality="text"),
        tuple(f"text {i}".encode() for i in range(len(labels))),
        tuple(labels),
    )
    data = pack.to_bytes()
    (bench.root / "texts").write_bytes(data)
    backbone = bench.backbone()
    bench.embed(pack, X, backbone)
    vectors = Pack(pack.task, pack.input, tuple(text.encode() for text in texts), (None,) * len(texts))
    bench.embed(vectors, np.array(list(texts.values()), np.float32), backbone)
    return FitSpec(
        job_id="ftjob-1",
        task="classification",
        modality="text",
        training_pack=str(bench.root / "texts"),
        training_digest=sha256(data),
        backbones=(backbone,),
        features=str(bench.cache.folder),
        output=str(bench.root / "output"),
        method="class_descriptions",
        hyperparameters={"descriptions": descriptions},
    )


DESCRIPTIONS = {"sky": "blue sky", "lawn": ["green grass", "a lawn"], "rose": "red rose"}
TEXTS = np.array([[3, 0.5, 0], [0, 2, 0.3], [0.1, 0, 1], [0, 1, 0]], np.float32)


def test_descriptions_classify_and_labelled_texts_only_test(bench: Bench) -> None:
    spec = described(bench, ["sky", "lawn", "rose", "sky"], TEXTS, DESCRIPTIONS)
    outcome = run(spec)
    assert outcome.manifest.labels == ("lawn", "rose", "sky")
    assert outcome.report.estimate.value == 0.75
    assert outcome.report.estimate.n == 4
    scores = open_session((Path(spec.output) / HEAD).read_bytes()).run(None, {"features": TEXTS})[0]
    assert scores.argmax(axis=1).tolist() == [2, 0, 1, 0]


def test_unlabelled_texts_are_enough_and_the_model_is_called_unverified(bench: Bench) -> None:
    report = run(described(bench, [None] * 4, TEXTS, DESCRIPTIONS)).report
    assert report.estimate.value is None
    assert report.estimate.insufficient_evidence
    assert report.unlabelled == 4


def test_every_zero_shot_method_is_listed() -> None:
    listed = {name for name, p in PROCEDURES.items() if p.info.setting == "zero-shot"}
    assert listed == {*METHODS, "class_descriptions"}
