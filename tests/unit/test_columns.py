"""New layers on fixed features: their arithmetic, their gradients, their graph, and what they can learn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.runtime import open_session
from tests.training_support import blobs
from training.column_fit import adapted, fit_column, objective_of, random_layer
from training.columns import Column, Lateral, Layer
from training.frame import Frame
from training.heads import scores
from training.methods import METHODS
from training.methods.base import Problem

WIDTHS = (2, 3)


def column(seed: int = 0) -> Column:
    """Two parts: a layer on the first, one with an adapter to the second, one that sees it directly."""
    rng = np.random.default_rng(seed)
    first = random_layer(2, 4, rng)
    second = adapted(random_layer(4, 3, rng), 1, 3, 2, rng)
    last = replace(random_layer(3, 3, rng), lateral=Lateral(1, rng.normal(size=(3, 3))))
    return Column((first, second, last), WIDTHS, "softmax")


def parts(seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(9, 5)).astype(np.float32)


def test_logits_by_hand() -> None:
    first = Layer(np.array([[1.0, -1.0]]), np.array([0.5]))
    side = Lateral(1, np.array([[2.0]]), np.array([[1.0, 1.0]]), np.array([-1.0]))
    last = Layer(np.array([[3.0]]), np.array([10.0]), side)
    X = np.array([[2.0, 1.0, 0.5, 1.0], [1.0, 2.0, 0.0, 0.0]])
    # relu(2 - 1 + .5) = 1.5, relu(1.5 - 1) = .5; and relu(-.5) = 0, relu(-1) = 0
    found = Column((first, last), (2, 2), "identity").logits(X)
    np.testing.assert_allclose(found, [[3 * 1.5 + 10 + 2 * 0.5], [10.0]])


def test_gradient_is_that_of_the_loss() -> None:
    rng = np.random.default_rng(0)
    problem = Problem(parts(), np.arange(9) % 3, "classification", ("a", "b", "c"))
    for task in ("classification", "multilabel", "regression"):
        target = (
            problem.y
            if task == "classification"
            else (problem.targets if task == "multilabel" else parts()[:, :3])
        )
        one = replace(problem, task=task, y=target)
        objective, packed = objective_of(one, column().layers, WIDTHS, C=2.0, beside=3.0)
        packed = packed + 0.1 * rng.normal(size=packed.shape)
        value, gradient = objective(packed)
        steps = 1e-6 * np.eye(len(packed))
        numbers = [(objective(packed + h)[0] - objective(packed - h)[0]) / 2e-6 for h in steps]
        assert value > 0
        np.testing.assert_allclose(gradient, numbers, atol=1e-6)


def test_the_graph_answers_as_the_column() -> None:
    frames = [Frame.of(5 * parts(2)[:, :2] + 30), Frame.of(parts(3)[:, 2:] / 7)]
    raw = np.concatenate([5 * parts()[:, :2] + 30, parts()[:, 2:] / 7], axis=1).astype(np.float32)
    inside = np.concatenate(
        [f.enter(x) for f, x in zip(frames, (raw[:, :2], raw[:, 2:]), strict=True)], axis=1
    )
    head = column().scaled(1.7)
    lifted = head.entered(frames)
    np.testing.assert_allclose(lifted.logits(raw), head.logits(inside), atol=1e-4)
    answers = open_session(lifted.to_onnx()).run(None, {"features": raw})[0]
    np.testing.assert_allclose(answers, scores(lifted, raw), atol=1e-5)
    np.testing.assert_allclose(head.logits(inside), 1.7 * column().logits(inside), atol=1e-9)


def test_layers_learn_what_no_line_divides() -> None:
    """Exclusive or."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 2)).astype(np.float32)
    problem = Problem(X, (X.prod(axis=1) > 0).astype(np.int64), "classification", ("no", "yes"))
    inside = replace(problem, X=Frame.of(X).enter(X))
    train, test = inside.take(np.arange(120)), inside.take(np.arange(120, 200))

    def right(name: str) -> float:
        (setting, *_) = METHODS[name].info.hyperparameters().grid(train)
        head = METHODS[name].fit(train, [setting])[0].head
        return float((head.logits(test.X).argmax(axis=1) == test.y).mean())

    assert right("mlp_head") > 0.9 > 0.75 > right("logistic")


def test_widths_are_those_asked_for() -> None:
    problem = blobs("classification")
    hyperparameters = METHODS["mlp_head"].info.hyperparameters
    (setting,) = hyperparameters.model_validate({"widths": [5, 3], "C": 1.0}).grid(problem)
    assert setting == {"widths": "5-3", "C": 1.0}
    head = METHODS["mlp_head"].fit(problem, [setting])[0].head
    assert isinstance(head, Column)
    assert [len(layer.bias) for layer in head.layers] == [5, 3, 3]
    for wrong in ([], [0], [1] * 5, [1.5]):
        with pytest.raises(ValueError, match="widths"):
            hyperparameters.model_validate({"widths": wrong})


def test_a_strong_penalty_silences_what_stands_beside_the_direct_connection() -> None:
    problem = blobs("classification", per_class=20, dim=5)
    layers = column().layers
    loose, tight = (fit_column(problem, layers, WIDTHS, 10.0, beside=beside) for beside in (1.0, 1e4))
    sizes = [np.abs(one.layers[-1].weight).max() for one in (loose, tight)]
    assert sizes[1] < 1e-3 < 0.1 < sizes[0]
    assert tight.layers[-1].lateral is not None
    assert np.abs(tight.layers[-1].lateral.weight).max() > 0.1
