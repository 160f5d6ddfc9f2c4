"""Stages below a new head: it stands on what the parent's tail gives, and both are served as one tail."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from models.runtime import open_session
from tests.deep_jobs import TOP, accuracy, answers, head, run, seen, stored, unseen, weights
from tests.signal_jobs import Fitted
from training.deep.graft import stand_on
from training.frame import Frame
from training.methods import METHODS
from training.methods.base import Problem
from training.several import SeveralHeads

pytest.importorskip("torch", reason="training below the top needs torch")

LEARN = {"learning_rate": 0.05, "head_rate": 0.05, "steps": 40, "batch_size": 16, "blocks": "all"}
HEADS = ("logistic", "prototypes", "knn", "siamese", "krr", "lda", "auto")
Data = tuple[np.ndarray, list[Any]]


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    """A tail that has learnt to see the second half of a signal."""
    return run(tmp_path_factory.mktemp("chain"), "finetune", unseen(60, 0), hyperparameters=LEARN)


def after(parent: Fitted, method: str, data: Data, **more: Any) -> Fitted:
    return run(parent.output.parent, method, data, parent=str(parent.output), **more)


def renamed(data: Data) -> Data:
    return data[0], [f"new-{label}" for label in data[1]]


def embedded(fitted: Fitted, x: np.ndarray) -> np.ndarray:
    """`tail_embedding` of signals; the tail begins at the input."""
    found = open_session(head(fitted)).run(["tail_embedding"], {"x": np.asarray(x, "f4")})[0]
    return np.asarray(found)


@pytest.mark.parametrize("method", HEADS)
def test_a_head_stands_on_what_the_parent_has_learnt(parent: Fitted, method: str) -> None:
    """Six examples of what the backbone is blind to, in classes that the parent never heard of."""
    child = after(parent, method, renamed(unseen(6, 1)))
    alone = run(parent.output.parent, method, renamed(unseen(6, 1)))
    assert child.manifest.labels == ("new-down", "new-up")
    assert (child.manifest.head.kind, child.manifest.tap) == ("tail", parent.manifest.tap)
    test = renamed(unseen(200, 3))
    assert accuracy(child, test) > 0.9
    assert accuracy(child, test) > accuracy(alone, test) + 0.2


def test_the_parents_part_is_taken_over_to_the_bit(parent: Fitted) -> None:
    child = after(parent, "prototypes", renamed(unseen(6, 1)))
    for name in weights():
        np.testing.assert_array_equal(stored(head(child))[name], stored(head(parent))[name])
    x = unseen(20, 4)[0]
    np.testing.assert_array_equal(embedded(child, x), embedded(parent, x))


def test_the_childs_answers_are_those_of_its_head_on_the_parents_features(parent: Fitted) -> None:
    """By hand: class means of the parent's embedding, and the softmax of negative squared distances."""
    x, labels = unseen(6, 1)
    child = after(parent, "prototypes", (x, labels))
    seen_by_head, y = embedded(parent, x), np.array([label == "up" for label in labels])
    means = np.stack([seen_by_head[~y].mean(axis=0), seen_by_head[y].mean(axis=0)]).astype(float)
    new = unseen(20, 4)[0]
    logits = -((embedded(parent, new)[:, None] - means) ** 2).sum(axis=2)
    found = np.diff(np.log(answers(child, new)), axis=1)[:, 0]
    factor = found / (logits[:, 1] - logits[:, 0])
    np.testing.assert_allclose(factor, factor.mean(), rtol=2e-2)


def test_what_a_head_answers_beside_its_task_is_kept(parent: Fitted) -> None:
    child = after(parent, "siamese", renamed(unseen(12, 1)))
    (same,) = child.manifest.outputs
    assert (same.name, child.manifest.head.out_dim) == ("same", 4)
    found = answers(child, unseen(60, 3)[0])
    own, p_same = (found[:, columns] for columns in child.manifest.columns)
    np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-5)
    assert ((p_same > 0.5).argmax(axis=1) == own.argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize("method", ["finetune", "siamese", "output_kl"])
def test_a_third_stage_goes_on_from_the_second(parent: Fitted, method: str) -> None:
    second = after(parent, "siamese", renamed(unseen(12, 1)))
    third = after(second, method, unseen(24, 5))
    assert accuracy(third, unseen(200, 3)) > 0.9
    assert third.manifest.tap == parent.manifest.tap


def test_numbers_stand_on_a_tail_too(parent: Fitted) -> None:
    x = unseen(40, 1)[0]
    child = after(parent, "ridge", (x, (x[:, 4:7].mean(axis=1) + 5).tolist()), task="regression")
    new = unseen(100, 3)[0]
    error = answers(child, new)[:, 0] - (new[:, 4:7].mean(axis=1) + 5)
    assert np.sqrt((error**2).mean()) < 0.3
    assert child.manifest.interval is not None


def test_adaptation_stands_on_what_the_parent_has_learnt(parent: Fitted) -> None:
    """The target is the same signals, raised; without the parent nothing of them is seen."""
    from tests.signal_jobs import SignalJobs

    root = parent.output.parent
    x, labels = unseen(40, 8)
    jobs = SignalJobs(root, [parent.backbone])
    target = jobs.store("classification", x + 0.5, [None] * len(x))
    child = after(parent, "coral", unseen(40, 7), unlabelled_pack=target)
    assert accuracy(child, (x + 0.5, labels)) > 0.85


def test_layers_are_selected_among_those_of_the_backbone(parent: Fitted) -> None:
    child = after(parent, "select_layer", seen(24, 2))
    assert child.manifest.head.kind == "affine"


def test_auto_compares_with_the_backbone_as_it_is(parent: Fitted) -> None:
    child = after(parent, "auto", renamed(unseen(24, 1)))
    assert {"parent", "top"} <= {candidate.tap for candidate in child.report.candidates}


def test_examples_that_the_parent_has_learnt_are_told_though_the_file_has_grown(parent: Fitted) -> None:
    """What it remembers may not win: `auto` leaves its features alone, a method by name warns."""
    x, labels = unseen(60, 0)
    more = unseen(10, 9)
    grown = np.concatenate([x, more[0]]), labels + more[1]
    by_name, chosen = (after(parent, method, grown) for method in ("logistic", "auto"))
    assert any("same examples" in warning for warning in by_name.report.warnings)
    assert "parent" not in {candidate.tap for candidate in chosen.report.candidates}
    assert by_name.manifest.rejection is None
    fresh = after(parent, "logistic", unseen(60, 9))
    assert not any("same examples" in warning for warning in fresh.report.warnings)


def test_what_is_unlike_the_examples_is_told_as_on_fixed_features(parent: Fitted) -> None:
    """The stage has not seen these examples, so a line can be drawn in its features."""
    child = after(parent, "logistic", renamed(unseen(60, 12)))
    assert child.manifest.rejection is not None
    assert 0 < child.manifest.rejection.false_alarms <= 0.1


def test_features_of_a_stage_are_computed_once(parent: Fitted, monkeypatch: pytest.MonkeyPatch) -> None:
    from training.deep.graft import Graft

    data = renamed(unseen(10, 11))
    first = after(parent, "logistic", data)
    calls: list[int] = []
    run_tail = Graft.run

    def counted(self: Graft, contents: Any) -> Any:
        calls.append(len(contents))
        return run_tail(self, contents)

    monkeypatch.setattr(Graft, "run", counted)
    again = after(parent, "lda", data)
    assert calls == [10]  # to prove the graph
    assert first.manifest.head.in_dim == again.manifest.head.in_dim == TOP


@pytest.mark.parametrize("version", [13, 18])
def test_a_head_is_written_in_the_tails_version_of_onnx(parent: Fitted, version: int) -> None:
    X = np.random.default_rng(0).normal(size=(12, TOP)).astype(np.float32)
    problem = Problem(Frame.of(X).enter(X), np.arange(12) % 2, "classification", ("a", "b"))
    fitted = METHODS["siamese"].fit(problem, METHODS["siamese"].info.hyperparameters().grid(problem)[:1])[0]
    own = fitted.head.lifted(Frame.of(X))
    model = onnx.load_model_from_string(head(parent))
    model.opset_import[0].version = version  # what it is made of is the same in all of them
    other = model.SerializeToString()
    x = unseen(5, 3)[0].astype(np.float32)
    for whole in (own, SeveralHeads((own, own))):
        found, features = open_session(stand_on(other, whole)).run(None, {"x": x})
        expected = open_session(whole.to_onnx()).run(None, {"features": features})[0]
        np.testing.assert_allclose(found, expected, atol=1e-6)
