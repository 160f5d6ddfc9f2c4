"""`unknown` of trained tails and of adapted heads: strangers are told, others at no more than the rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.engine.engine import Engine
from app.engine.model import LoadedModel
from models.manifest import Head, Rejection
from models.modalities import preprocessor
from models.novelty import NOVELTY, Novelty
from models.runtime import Backbone, open_session
from models.store import verify_files
from tests.deep_jobs import POINTS, head, run, seen
from tests.signal_jobs import Fitted, SignalJobs
from tests.trunks import FakeShelf, FakeTrunk, card, manifest
from tests.unit.test_engine_tails import CLASSES, TAP, tail_onnx
from training.novelty import Examples, fit_apart, nearest_of

TRAINED = ("finetune", "lora", "l2_sp", "output_kl", "first_layers", "contrastive")
ADAPTED = ("coral", "subspace_alignment", "optimal_transport", "importance_weighting")
Array = np.ndarray


def strange(n: int, seed: int) -> Array:
    """Signals that neither rise nor fall as a whole at their beginning, but swing."""
    rng = np.random.default_rng(seed)
    x = 0.5 * rng.normal(size=(n, POINTS))
    x[:, :3] += 2 * rng.choice([-1, 1], (n, 1)) * np.array([1.0, -1.0, 1.0])
    return np.asarray(x)


def unknown(fitted: Fitted, x: Array) -> Array:
    """As the engine tells it: from the embedding and the model's own answers."""
    made, backbone = fitted.manifest, Backbone(fitted.backbone)
    contents = [row.tobytes() for row in np.asarray(x, "<f4")]
    session = open_session(head(fitted))
    if made.head.kind == "tail":
        ready = preprocessor(backbone.card, {})
        edges = backbone.edges([ready.prepare(content) for content in contents], made.tap)
        scores, features = session.run(None, edges)
    else:
        features = backbone.embed(contents, [made.tap])[made.tap]
        (scores,) = session.run(None, {"features": features})
    stored = verify_files(fitted.output, made.files)[NOVELTY]
    return Novelty.from_bytes(stored, made.head.in_dim).unknown(features, scores)


@pytest.mark.parametrize("method", TRAINED)
def test_a_trained_tail_tells_strangers(tmp_path: Path, method: str) -> None:
    pytest.importorskip("torch", reason="training below the top needs torch")
    given = {"steps": 30, "learning_rate": 0.005, "head_rate": 0.02}
    fitted = run(tmp_path, method, seen(60, 11), hyperparameters=given)
    rejection = fitted.manifest.rejection
    assert rejection is not None
    assert fitted.report.metrics["false_alarms"] == rejection.false_alarms <= 0.1
    held_out, strangers = unknown(fitted, seen(400, 1)[0]), unknown(fitted, strange(200, 2))
    assert held_out.mean() <= 0.1
    assert strangers.mean() > held_out.mean() + 0.25


@pytest.mark.parametrize("method", ADAPTED)
def test_an_adapted_head_tells_what_is_unlike_its_target(tmp_path: Path, method: str) -> None:
    """New examples of the target are not flagged, those of nowhere are; and labels are not needed for it."""
    first = run(tmp_path, "logistic", seen(24, 5))
    x, labels = seen(60, 6)
    jobs = SignalJobs(tmp_path, [first.backbone])
    target = jobs.store("classification", x + 0.4, [*labels[:4], *[None] * 56])
    fitted = run(tmp_path, method, seen(60, 7), unlabelled_pack=target)
    rejection = fitted.manifest.rejection
    assert rejection is not None
    assert rejection.false_alarms <= 0.1
    assert fitted.manifest.prediction_sets is None  # of the answers there nothing is known
    held_out, strangers = unknown(fitted, seen(400, 8)[0] + 0.4), unknown(fitted, strange(200, 9))
    assert held_out.mean() <= 0.1
    assert strangers.mean() > held_out.mean() + 0.1


def test_a_tail_trained_on_its_target_draws_no_line(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training below the top needs torch")
    first = run(tmp_path, "logistic", seen(24, 5))
    target = SignalJobs(tmp_path, [first.backbone]).store("classification", seen(60, 6)[0], [None] * 60)
    assert run(tmp_path, "mmd", seen(60, 7), unlabelled_pack=target).manifest.rejection is None


def test_networks_of_different_size_are_comparable() -> None:
    """The fold's features are ten times as large as the model's: the line is in units of their spread."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(80, 4))
    apart = nearest_of(Examples(10 * X[:40]), 10 * X[40:])
    np.testing.assert_allclose(apart, nearest_of(Examples(X[:40]), X[40:]), rtol=1e-5)
    found = fit_apart(Examples(X[40:]), apart)
    assert found is not None
    told, false_alarms = found
    assert 0 < false_alarms <= 0.1
    none = np.ones((200, 1), np.float32)
    assert told.unknown(rng.normal(size=(200, 4)).astype(np.float32), none).mean() < 0.15
    assert told.unknown(9 + rng.normal(size=(200, 4)).astype(np.float32), none).all()


def test_too_few_or_all_alike_draw_no_line() -> None:
    X = np.random.default_rng(0).normal(size=(30, 3))
    assert fit_apart(Examples(X[:15]), np.ones(15)) is None
    assert fit_apart(Examples(X), np.ones(30)) is None


def test_the_engine_answers_a_tail_the_same_whether_it_is_asked_or_not() -> None:
    trunk = FakeTrunk(card())
    shelf = FakeShelf(trunk)
    texts = [bytes([97 + i % 5] * (3 + i % 4)) for i in range(40)]
    made = manifest(trunk.card).model_copy(
        update={"tap": TAP, "head": Head(kind="tail", activation="softmax", in_dim=2, out_dim=CLASSES)}
    )
    old = LoadedModel.load(made, 1, tail_onnx(1))  # as those were before there was a line
    engine = Engine(shelf, lanes=1, open_trunk=shelf.open)
    try:
        plain = engine.predict_sync(old, texts, embedding=True)
        assert plain.embedding is not None
        known = Examples(plain.embedding, np.arange(40) % CLASSES, plain.outputs)
        found = fit_apart(known, nearest_of(known, plain.embedding + 0.01))
        assert found is not None
        line = Rejection(threshold=found[0].threshold, false_alarms=found[1])
        newer = made.model_copy(update={"rejection": line})
        model = LoadedModel.load(newer, 2, tail_onnx(1), novelty=found[0].to_bytes())
        asked = engine.predict_sync(model, [*texts, b"z" * 90], embedding=True, unknown=True)
        assert engine.predict_sync(old, texts, unknown=True).unknown is None
    finally:
        engine.close()
    assert asked.unknown is not None
    assert bool(asked.unknown[-1])
    assert asked.unknown[:-1].mean() <= 0.1
    np.testing.assert_array_equal(asked.outputs[:-1], plain.outputs)
