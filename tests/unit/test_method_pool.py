"""The pool of heads: what it becomes, and that two ways of making it agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from models.base import TaskName
from models.runtime import open_session
from tests.training_support import blobs
from training.ensemble import pooled
from training.evaluate import Evidence, cross_validate
from training.folds import make_folds
from training.frame import Frame
from training.heads import AffineHead, scores
from training.members import member_key, members
from training.methods import METHODS
from training.methods.base import Problem
from training.pooled import PooledHead, pool_heads

POOL = METHODS["pool"]


def overlapping(n: int = 30, seed: int = 0) -> Problem:
    """Three classes that no head tells apart without error."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    X = (1.5 * np.eye(3, 5)[y] + rng.normal(size=(n, 5))).astype(np.float32)
    frame = Frame.of(X)
    return Problem(frame.enter(X), y, "classification", ("a", "b", "c"), seed)


def evidence_of_members(problem: Problem) -> dict[str, Evidence]:
    folds = make_folds(problem)
    return {
        member_key(name, setting): cross_validate(METHODS[name], problem, [setting], folds)[0]
        for name, setting in members(problem)
    }


def affine(seed: int) -> AffineHead:
    rng = np.random.default_rng(seed)
    return AffineHead(rng.normal(size=(3, 5)), rng.normal(size=3), "softmax")


def test_affine_members_become_one_product() -> None:
    X = np.random.default_rng(9).normal(size=(7, 5))
    head = pool_heads([affine(0), affine(1).scaled(2.0)])
    assert head.record().kind == "affine"
    np.testing.assert_allclose(head.logits(X), affine(0).logits(X) + 2 * affine(1).logits(X))


def test_others_stand_beside_it_in_one_graph() -> None:
    problem = overlapping()
    kernel = METHODS["krr"].fit(problem, [{"gamma": 1.0, "penalty": 0.1}])[0].head
    head = pool_heads([affine(0), kernel, affine(1)])
    assert isinstance(head, PooledHead)
    assert len(head.parts) == 2
    graph = head.to_onnx()
    operators = [node.op_type for node in onnx.load_model_from_string(graph).graph.node]
    assert operators.count("Sum") == operators.count("Softmax") == 1
    answers = open_session(graph).run(None, {"features": problem.X})[0]
    np.testing.assert_allclose(answers, scores(head, problem.X), atol=1e-5)


def test_evidence_made_anyway_gives_the_pool_its_own_fit_would_find() -> None:
    problem = overlapping()
    shown = pooled(problem, evidence_of_members(problem), make_folds(problem))
    assert shown is not None
    found = POOL.fit(problem, [{}])[0].setting
    assert shown.setting == pytest.approx(found, rel=1e-2)
    own = cross_validate(POOL, problem, [{}], make_folds(problem))[0]
    assert shown.loss == pytest.approx(own.loss, rel=1e-2)


def test_given_weights_are_taken_as_they_are() -> None:
    problem = overlapping()
    setting: dict[str, Any] = {"logistic C=10": 0.5, "prototypes": 0.25}
    fitted = POOL.fit(problem, [setting])[0]
    logistic = METHODS["logistic"].fit(problem, [{"C": 10.0}])[0].head.logits(problem.X)
    prototypes = METHODS["prototypes"].fit(problem, [{"sharpness": "auto"}])[0].head.logits(problem.X)
    np.testing.assert_allclose(fitted.head.logits(problem.X), 0.5 * logistic + 0.25 * prototypes, atol=1e-9)
    assert fitted.setting == setting


def test_no_pool_without_its_anchor() -> None:
    problem = overlapping()
    found = evidence_of_members(problem)
    anchor = next(iter(found))
    folds = make_folds(problem)
    assert pooled(problem, {key: found[key] for key in found if key != anchor}, folds) is None
    assert pooled(problem, {anchor: found[anchor]}, folds) is None


@pytest.mark.parametrize(
    ("task", "anchor"), [("classification", "logistic"), ("multilabel", "logistic"), ("regression", "ridge")]
)
def test_anchor_comes_first(task: TaskName, anchor: str) -> None:
    assert members(blobs(task))[0][0] == anchor


def test_kernel_stays_out_of_many_classes() -> None:
    X = np.zeros((60, 2), np.float32)
    many = Problem(X, np.arange(60), "classification", tuple(map(str, range(60))))
    assert "krr" not in dict(members(many))
    assert "krr" in dict(members(overlapping()))
