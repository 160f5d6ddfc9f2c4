"""Pairs of a class: the term by hand, batches that hold them, and what a chain gains by it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the term is torch's")

from tests.deep_jobs import POINTS, accuracy, run  # noqa: E402
from training.deep.pairs import PairOrder, contrastive_loss  # noqa: E402


def test_the_term_by_hand() -> None:
    """Three rows, of which the first two are fellows; the third has none and is not counted."""
    rows = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0]])
    found = contrastive_loss(rows, torch.tensor([4, 4, 7]), 0.5)
    first = -math.log(math.exp(1.2) / (math.exp(1.2) + math.exp(0.0)))
    second = -math.log(math.exp(1.2) / (math.exp(1.2) + math.exp(1.6)))
    assert found.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_rows_without_fellows_have_no_say_and_break_nothing() -> None:
    rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    loss = contrastive_loss(rows, torch.tensor([0, 1]), 0.2)
    loss.backward()
    assert loss.item() == 0
    assert torch.isfinite(rows.grad).all()


def test_every_batch_holds_pairs() -> None:
    y = np.repeat(np.arange(6), [5, 5, 5, 5, 5, 1])
    order = PairOrder(np.arange(100, 126), y, 8, np.random.default_rng(0))
    seen = set()
    for _ in range(50):
        rows = order.take()
        assert len(rows) == len(set(rows.tolist())) == 8
        assert (np.unique(y[rows - 100], return_counts=True)[1] == 2).all()
        seen |= set(rows.tolist())
    assert seen == set(range(100, 125))  # who has no fellow is left out


def test_few_classes_fill_the_batch() -> None:
    order = PairOrder(np.arange(20), np.arange(20) % 2, 8, np.random.default_rng(0))
    assert np.bincount(order.take() % 2).tolist() == [4, 4]


def turned(angles: list[int], each: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Classes are directions of a plane in the second half of a signal, which the backbone does not see."""
    rng = np.random.default_rng(seed)
    x = 0.2 * rng.normal(size=(each * len(angles), POINTS))
    turn = np.repeat(np.deg2rad(angles), each)
    x[:, POINTS // 2] += np.cos(turn)
    x[:, POINTS // 2 + 1] += np.sin(turn)
    return x, [f"turned-{angle}" for angle in np.repeat(angles, each)]


def test_many_classes_teach_to_tell_new_ones_apart_by_an_example_each(tmp_path: Path) -> None:
    given = {"steps": 150, "blocks": "all", "learning_rate": 0.05, "head_rate": 0.05}
    stage = run(tmp_path, "contrastive", turned([0, 90, 180, 270], 15, 0), hyperparameters=given)
    assert stage.manifest.hyperparameters["contrast"] == 0.2
    one_shot, test = turned([45, 225], 1, 1), turned([45, 225], 100, 2)
    alone = run(tmp_path, "siamese", one_shot)
    found = run(tmp_path, "siamese", one_shot, parent=str(stage.output))
    assert accuracy(found, test) > 0.9
    assert accuracy(found, test) > accuracy(alone, test) + 0.2
