"""The training loop's parts by hand: losses, batches, steps and the time they may take."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.errors import JobFailed
from tests import deep_jobs
from tests.deep_jobs import CLASSES, network

torch = pytest.importorskip("torch", reason="the loop is torch's")

from torch import nn  # noqa: E402

from training.deep.adamw import AdamW  # noqa: E402
from training.deep.loop import Course, Moment, Order, predict, task_loss, train  # noqa: E402
from training.graft.tail import Rows  # noqa: E402


def rows(n: int) -> Rows:
    return Rows({"x": list(np.random.default_rng(1).normal(size=(n, deep_jobs.POINTS)).astype(np.float32))})


def course(**more: object) -> Course:
    fields: dict[str, object] = {
        "steps": 4,
        "batch_size": 4,
        "rates": {"w_top": 0.01},
        "head_rate": 0.01,
        "weight_decay": 0.0,
        "seconds": 30.0,
        "seed": 0,
    }
    return Course(**{**fields, **more})  # type: ignore[arg-type]


def test_losses_by_hand() -> None:
    logits = torch.tensor([[1.0, -1.0], [0.5, 2.0]])
    marks = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    odds = [math.log1p(math.exp(-2.0)), math.log1p(math.exp(-1.5))]
    assert float(task_loss("classification", logits, marks)) == pytest.approx(sum(odds) / 2)
    each = [math.log1p(math.exp(-x)) for x in (1.0, 1.0, -0.5, 2.0)]
    assert float(task_loss("multilabel", logits, marks)) == pytest.approx(sum(each) / 4)
    squares = [0.0, 1.0, 0.25, 1.0]
    assert float(task_loss("regression", logits, marks, 2.0)) == pytest.approx(sum(squares) / 4 / 2.0)


def test_every_row_is_seen_before_any_is_seen_again() -> None:
    order = Order(np.arange(10), 4, np.random.default_rng(0))
    first = np.concatenate([order.take(), order.take()])
    assert len(set(first.tolist())) == 8
    assert all(len(order.take()) == 4 for _ in range(9))
    assert len(Order(np.arange(3), 32, np.random.default_rng(0)).take()) == 3


def test_an_optimiser_step_by_hand() -> None:
    """Adam's first step is its rate, whatever the gradient's size; the decay is apart from it."""
    weight = nn.Parameter(torch.tensor([2.0]))
    optimiser = AdamW([{"params": [weight], "lr": 0.1}], weight_decay=0.5, clip=10.0)
    optimiser.step(weight.sum() * 3, 1.0)
    assert weight.item() == pytest.approx(2.0 * (1 - 0.1 * 0.5) - 0.1, abs=1e-6)
    before = weight.item()
    optimiser.step(weight.sum(), 0.5)
    mean = (0.9 * 0.3 + 0.1 * 1.0) / (1 - 0.9**2)
    spread = math.sqrt((0.999 * 0.009 + 0.001 * 1.0) / (1 - 0.999**2))
    assert weight.item() == pytest.approx(before * (1 - 0.05 * 0.5) - 0.05 * mean / spread, abs=1e-6)


def test_a_gradient_is_cut_to_its_norm() -> None:
    weights = [nn.Parameter(torch.tensor([v])) for v in (0.0, 0.0)]
    optimiser = AdamW([{"params": weights, "lr": 0.1}], weight_decay=0.0, clip=1.0)
    optimiser.step(30 * weights[0].sum() + 40 * weights[1].sum(), 1.0)
    assert [weight.grad.item() for weight in weights if weight.grad is not None] == pytest.approx([0.6, 0.8])


def test_only_what_has_a_rate_learns() -> None:
    one, before = network(), {name: w.detach().clone() for name, w in network().tail.weights.items()}
    steps = train(one, rows(8), np.eye(CLASSES)[np.arange(8) % 2], np.arange(8), "classification", course())
    assert steps == 4
    assert torch.equal(one.tail.weights["w_low"].cpu(), before["w_low"])
    assert not torch.equal(one.tail.weights["w_top"].cpu(), before["w_top"])


def test_rows_behind_the_examples_are_copies_of_them() -> None:
    seen: list[tuple[int, ...]] = []

    def watch(moment: Moment) -> torch.Tensor:
        assert torch.equal(moment.targets.argmax(dim=1).cpu(), torch.tensor(moment.rows) % 2)
        seen.append(tuple(moment.rows))
        return moment.logits.new_zeros(())

    targets = np.eye(CLASSES)[np.arange(6) % 2]
    learn = np.array([0, 1, 6, 7, 12, 13])
    train(network(), rows(18), targets, learn, "classification", course(extras=[watch]))
    assert {row for batch in seen for row in batch} == {0, 1}


def test_no_number_is_no_model() -> None:
    broken = network(bias=float("nan"))
    with pytest.raises(JobFailed) as failed:
        train(broken, rows(4), np.eye(CLASSES)[[0, 1, 0, 1]], np.arange(4), "classification", course())
    assert failed.value.code == "non_finite"
    with pytest.raises(JobFailed) as failed:
        predict(broken, rows(4), np.arange(4))
    assert failed.value.code == "non_finite"


def test_time_cuts_the_course_while_it_can_be_planned() -> None:
    shares: list[float] = []
    targets = np.eye(CLASSES)[np.arange(8) % 2]
    short = course(steps=100_000, seconds=0.05)
    steps = train(network(), rows(8), targets, np.arange(8), "classification", short, shares.append)
    assert 3 <= steps < 100_000
    assert shares[-1] == 1.0
