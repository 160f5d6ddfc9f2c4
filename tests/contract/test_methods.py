"""What every registered method owes, for every task it serves."""

from __future__ import annotations

from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from models.base import TaskName
from models.runtime import open_session
from tests.training_support import blobs
from training.evaluate import cross_validate
from training.folds import make_folds
from training.frame import Frame
from training.heads import scores
from training.methods import METHODS
from training.methods.base import Fitted, Problem, register
from training.reporting import guess_baseline

PAIRS = [(name, task) for name, method in sorted(METHODS.items()) for task in method.info.tasks]
every_pair = pytest.mark.parametrize(("name", "task"), PAIRS)
every_method = pytest.mark.parametrize("name", sorted(METHODS))


def example(name: str, task: TaskName, **more: int) -> Problem:
    """Blobs, with a second domain for a method that needs one: every other row, or unlabelled ones."""
    problem, needs = blobs(task, **more), METHODS[name].info.needs
    if "target_labels" in needs:
        problem = replace(problem, in_target=np.arange(len(problem)) % 2 == 0)
    if "unlabelled" in needs:
        problem = replace(problem, target=blobs(task, **more, seed=1).X + np.float32(0.3))
    return problem


def far_away(problem: Problem) -> Problem:
    """The same problem far from the frame in which heads are fitted."""
    target = None if problem.target is None else 40 * problem.target + 300
    return replace(problem, X=40 * problem.X + 300, target=target)


def fit_all(name: str, problem: Problem) -> list[Fitted]:
    """A head for each setting of the method's whole grid."""
    method = METHODS[name]
    return method.fit(problem, method.info.hyperparameters().grid(problem))


@every_pair
def test_every_setting_gives_a_head_of_the_right_shape(name: str, task: TaskName) -> None:
    problem = example(name, task)
    grid = METHODS[name].info.hyperparameters().grid(problem)
    fitted = METHODS[name].fit(problem, grid)
    assert len(fitted) == len(grid)
    for one in fitted:
        answers = scores(one.head, problem.X)
        assert answers.shape == problem.targets.shape
        assert np.isfinite(answers).all()
        assert one.head.finite()
        assert "auto" not in one.setting.values()
        if problem.activation == "softmax":
            np.testing.assert_allclose(answers.sum(axis=1), 1, atol=1e-9)


@every_pair
def test_scaling_a_head_scales_what_it_says(name: str, task: TaskName) -> None:
    """Also where no temperature ever scales it: the pool adds heads, each times its weight."""
    problem = example(name, task)
    for one in fit_all(name, problem):
        expected = 0.25 * one.head.logits(problem.X)
        np.testing.assert_allclose(one.head.scaled(0.25).logits(problem.X), expected, rtol=1e-9, atol=1e-9)


@every_pair
def test_graph_agrees_with_head_on_raw_features(name: str, task: TaskName) -> None:
    raw = far_away(example(name, task))
    X, frame = raw.X, Frame.of(raw.X if raw.target is None else np.concatenate([raw.X, raw.target]))
    target = None if raw.target is None else frame.enter(raw.target)
    inside = replace(raw, X=frame.enter(X), target=target)
    for one in fit_all(name, inside):
        head = one.head.scaled(1.7).lifted(frame)
        answers = open_session(head.to_onnx()).run(None, {"features": X})[0]
        np.testing.assert_allclose(answers, scores(head, X), atol=1e-4 * max(1, np.abs(answers).max()))
        np.testing.assert_allclose(head.logits(X), one.head.scaled(1.7).logits(inside.X), atol=1e-3)


@every_pair
def test_head_over_a_joined_tap_is_lifted_exactly(name: str, task: TaskName) -> None:
    raw = far_away(example(name, task))
    X = raw.X * np.where(np.arange(raw.X.shape[1]) < 2, 1, 30).astype(np.float32)
    frame = Frame.of(X if raw.target is None else np.concatenate([X, raw.target]), (2, X.shape[1] - 2))
    target = None if raw.target is None else frame.enter(raw.target)
    inside = replace(raw, X=frame.enter(X), target=target)
    head = fit_all(name, inside)[0].head
    np.testing.assert_allclose(head.lifted(frame).logits(X), head.logits(inside.X), atol=2e-3)


@every_pair
def test_graph_keeps_the_contract(name: str, task: TaskName) -> None:
    problem = example(name, task)
    head = fit_all(name, problem)[0].head
    session = open_session(head.to_onnx())
    record = head.record()
    assert [i.name for i in session.get_inputs()] == ["features"]
    assert [o.name for o in session.get_outputs()] == ["value" if task == "regression" else "scores"]
    assert (record.in_dim, record.out_dim) == (problem.X.shape[1], problem.targets.shape[1])
    assert record.activation == problem.activation


@every_pair
def test_same_problem_gives_the_same_bytes(name: str, task: TaskName) -> None:
    first, second = (fit_all(name, example(name, task))[0].head.to_onnx() for _ in range(2))
    assert first == second


@every_pair
def test_answer_does_not_depend_on_the_batch(name: str, task: TaskName) -> None:
    problem = example(name, task)
    session = open_session(fit_all(name, problem)[0].head.to_onnx())
    whole = session.run(None, {"features": problem.X})[0]
    single = [session.run(None, {"features": row[None]})[0][0] for row in problem.X]
    np.testing.assert_allclose(np.stack(single), whole, atol=1e-5)
    assert session.run(None, {"features": problem.X[:0]})[0].shape == (0, problem.targets.shape[1])


@every_pair
def test_beats_guessing_on_separable_data(name: str, task: TaskName) -> None:
    problem = example(name, task)
    method = METHODS[name]
    grid = method.info.hyperparameters().grid(problem)[:1]
    evidence = cross_validate(method, problem, grid, make_folds(problem))[0]
    guess = guess_baseline(problem).value
    assert evidence.value is not None
    if task == "regression":
        assert evidence.value < 0.5 * guess
    else:
        assert evidence.value > max(guess, 0.9)


@every_pair
def test_rough_fit_is_near_the_exact_one(name: str, task: TaskName) -> None:
    problem = example(name, task)
    method = METHODS[name]
    grid = method.info.hyperparameters().grid(problem)
    pairs = zip(method.fit(problem, grid), method.fit(problem, grid, rough=True), strict=True)
    for exact, rough in pairs:
        np.testing.assert_allclose(scores(rough.head, problem.X), scores(exact.head, problem.X), atol=0.02)


@every_pair
def test_two_examples_are_enough(name: str, task: TaskName) -> None:
    problem = example(name, task, per_class=1, classes=2)
    for one in fit_all(name, problem):
        assert np.isfinite(scores(one.head, problem.X)).all()


@every_method
def test_hyperparameters_have_a_closed_schema(name: str) -> None:
    info = METHODS[name].info
    schema = info.describe()["hyperparameters"]
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert validator.is_valid({})
    auto = dict.fromkeys(schema["properties"], "auto")
    assert validator.is_valid(auto)
    assert info.hyperparameters.model_validate(auto) == info.hyperparameters()
    assert not validator.is_valid({"unheard_of": 1})
    with pytest.raises(ValidationError):
        info.hyperparameters.model_validate({"unheard_of": 1})


@every_method
def test_info_is_complete(name: str) -> None:
    info = METHODS[name].info
    assert info.name == name
    assert info.tasks
    assert info.modalities
    assert all((info.title, info.source, info.setting))


def test_name_can_be_taken_once() -> None:
    with pytest.raises(ValueError, match="already"):
        register(METHODS["ridge"])
