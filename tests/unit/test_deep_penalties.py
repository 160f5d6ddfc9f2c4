"""Terms that keep a network near its start, checked against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="penalties are torch's")

from tests.deep_jobs import CLASSES, network  # noqa: E402
from training.deep.loop import Moment, task_loss  # noqa: E402
from training.deep.penalties import StartingPoint, TowardsSource, squared_distance  # noqa: E402


def moment(**more: object) -> Moment:
    logits = torch.tensor([[1.0, -1.0], [0.5, 2.0]], requires_grad=True)
    fields: dict[str, object] = {
        "network": network(),
        "rows": [2, 0],
        "features": torch.zeros(2, 6),
        "logits": logits,
        "targets": torch.eye(CLASSES),
        "share": 0.5,
        "rng": np.random.default_rng(0),
    }
    return Moment(**{**fields, **more})  # type: ignore[arg-type]


def test_distance_is_of_all_weights_together() -> None:
    now, start = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])], [torch.zeros(2), torch.tensor([[1.0]])]
    assert float(squared_distance(now, start)) == 1 + 4 + 4


def test_the_penalty_is_on_leaving_and_on_the_head() -> None:
    one = network()
    term = StartingPoint(one, ["w_top", "unknown"], alpha=0.3, beta=0.0)
    assert term(moment(network=one)).item() == 0
    with torch.no_grad():
        one.tail.weights["w_top"] += 2.0
        one.tail.weights["w_low"] += 5.0  # has no rate, and so no say
    numbers = one.tail.weights["w_top"].numel()
    assert term(moment(network=one)).item() == pytest.approx(0.3 / 2 * 4 * numbers, rel=1e-5)
    head = sum((layer.weight**2).sum().item() for layer in one.layers)
    term = StartingPoint(one, ["w_top"], alpha=0.3, beta=0.5)
    assert term(moment(network=one)).item() == pytest.approx(0.25 * head, rel=1e-5)


@pytest.mark.parametrize("task", ["classification", "multilabel", "regression"])
def test_the_loss_is_yus_mixture(task: str) -> None:
    """Its gradient is that of (1 - rho) loss(labels) + rho loss(source), over 1 - rho."""
    answers = np.array([[0.2, 0.8], [0.0, 1.0], [0.9, 0.1]])
    now, share, spread = moment(), 0.3, 1.7
    own = task_loss(task, now.logits, now.targets, spread)  # type: ignore[arg-type]
    term = TowardsSource(answers, task, share, spread)(now)  # type: ignore[arg-type]
    (found,) = torch.autograd.grad(own + term, now.logits)
    source = torch.tensor(answers[[2, 0]], dtype=torch.float32)
    if task == "regression":
        slopes = [2 * (now.logits - t) / 4 / spread for t in (now.targets, source)]
    elif task == "classification":
        slopes = [(now.logits.softmax(dim=1) - t) / 2 for t in (now.targets, source)]
    else:
        slopes = [(now.logits.sigmoid() - t) / 4 for t in (now.targets, source)]
    wanted = ((1 - share) * slopes[0] + share * slopes[1]) / (1 - share)
    torch.testing.assert_close(found, wanted.detach())
