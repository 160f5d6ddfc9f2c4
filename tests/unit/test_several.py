"""Several heads as one graph."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from models.errors import JobFailed
from models.runtime import open_session
from tests.training_support import blobs
from training.artefact import check_parity
from training.heads import AffineHead, scores
from training.methods import METHODS
from training.methods.base import Problem
from training.several import SeveralHeads, parts


def fitted(method: str, problem: Problem) -> object:
    grid = METHODS[method].info.hyperparameters().grid(problem)[:1]
    return METHODS[method].fit(problem, grid)[0].head


@pytest.fixture
def several() -> SeveralHeads:
    """A classifier, a regression and a multilabel model on the same features."""
    return SeveralHeads(
        (
            fitted("logistic", blobs("classification")),
            fitted("knn", blobs("regression")),
            fitted("ridge", blobs("multilabel")),
        )
    )


def test_answers_lie_side_by_side_each_with_its_activation(several: SeveralHeads) -> None:
    X = blobs("classification").X
    expected = np.concatenate([scores(head, X) for head in several.heads], axis=1)
    session = open_session(several.to_onnx())
    (found,) = session.run(None, {"features": X})
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(several.logits(X), expected)
    np.testing.assert_allclose(found[:, :3].sum(axis=1), 1, atol=1e-5)
    record = several.record()
    assert (record.kind, record.activation, record.out_dim) == ("graph", "identity", 7)
    assert [columns for columns, _ in several.parts] == [slice(0, 3), slice(3, 4), slice(4, 7)]
    assert several.to_onnx() == several.to_onnx()


def test_what_two_heads_share_is_kept_once() -> None:
    problem = blobs("classification")
    head = fitted("siamese", problem)
    twice = onnx.load_model_from_string(SeveralHeads((head, head.scaled(2.0))).to_onnx()).graph  # type: ignore[attr-defined]
    alone = onnx.load_model_from_string(head.to_onnx()).graph  # type: ignore[attr-defined]
    matrices = [tensor for tensor in twice.initializer if len(tensor.dims) == 2 and tensor.dims[1] == 6]
    assert len(matrices) == len(
        [tensor for tensor in alone.initializer if len(tensor.dims) == 2 and tensor.dims[1] == 6]
    )
    products = [node.op_type for node in twice.node].count("Gemm")
    assert products == [node.op_type for node in alone.node].count("Gemm")


def test_parity_is_judged_answer_by_answer() -> None:
    """Beside values of a million, a wrong probability would not show."""
    X = np.eye(4, dtype=np.float32)
    loud = AffineHead(1e6 * np.ones((1, 4)), np.zeros(1), "identity")
    right = AffineHead(np.eye(2, 4), np.zeros(2), "softmax")
    wrong = AffineHead(np.eye(2, 4), np.array([0.1, 0.0]), "softmax")
    answers = check_parity(SeveralHeads((right, loud)), SeveralHeads((right, loud)).to_onnx(), X)
    assert answers.shape == (4, 3)
    with pytest.raises(JobFailed, match="differs"):
        check_parity(SeveralHeads((right, loud)), SeveralHeads((wrong, loud)).to_onnx(), X)


def test_parts_follow_each_other() -> None:
    assert parts([("softmax", 2), ("identity", 1)]) == [(slice(0, 2), "softmax"), (slice(2, 3), "identity")]
