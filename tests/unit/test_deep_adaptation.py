"""Deep domain adaptation: its losses by hand, its gradients by sign, and whole jobs on two domains."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import JobFailed
from models.report import Adaptation
from tests import deep_jobs
from tests.deep_jobs import accuracy, seen
from tests.signal_jobs import Fitted, SignalJobs
from tests.training_support import blobs
from training.evaluate import Evidence
from training.methods.base import Problem

torch = pytest.importorskip("torch", reason="it trains with torch")

from torch import nn  # noqa: E402 (after torch is known to be there)

from training.deep import adversarial, discrepancy  # noqa: E402
from training.deep.bottleneck import with_bottleneck  # noqa: E402
from training.deep.domains import (  # noqa: E402
    SMOOTHNESS,
    Conditional,
    DomainTerm,
    Pair,
    Reversal,
    Target,
    Uniform,
)
from training.deep.loop import Moment  # noqa: E402
from training.deep.transfer_guard import harm  # noqa: E402
from training.graft.tail import Rows  # noqa: E402

METHODS = ("dann", "cdan", "deep_coral", "mmd")
SHIFT = 1.2  # of every value: more than what tells the classes apart


class Line(nn.Module):
    """A discriminator whose every number is known: logit = w x."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))

    def forward(self, rows: Any) -> Any:
        return self.weight * rows[:, 0]


def log1pexp(x: float) -> float:
    return math.log1p(math.exp(x))


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def pair(source: Any, target: Any) -> Pair:
    """Features with logits of two classes that are the features and their negatives."""
    ours, theirs = (torch.tensor(rows).reshape(-1, 1).requires_grad_(True) for rows in (source, target))
    return Pair(ours, theirs, torch.cat([ours, -ours], 1), torch.cat([theirs, -theirs], 1))


def test_the_ramp_is_the_papers() -> None:
    assert adversarial.ramp(0.0) == 0.0
    assert adversarial.ramp(0.5) == pytest.approx(2 / (1 + math.exp(-5)) - 1)
    assert adversarial.ramp(1.0) == pytest.approx(0.99990920)


def test_reversal_changes_nothing_but_the_gradient() -> None:
    x = torch.tensor([[1.0, -2.0]], requires_grad=True)
    y = adversarial.reverse(x, 0.25)
    assert torch.equal(y, x)
    (y * torch.tensor([[3.0, 5.0]])).sum().backward()
    assert x.grad.tolist() == [[-0.75, -1.25]]


def test_domain_loss_by_hand() -> None:
    source, target = torch.tensor([1.0, -2.0]), torch.tensor([0.5])
    expected = ((log1pexp(-1.0) + log1pexp(2.0)) / 2 + log1pexp(0.5)) / 2
    assert adversarial.domain_loss(source, target).item() == pytest.approx(expected)
    weighted = adversarial.domain_loss(source, target, torch.tensor([3.0, 1.0]), torch.tensor([7.0]))
    expected = ((3 * log1pexp(-1.0) + log1pexp(2.0)) / 4 + log1pexp(0.5)) / 2
    assert weighted.item() == pytest.approx(expected)


def test_uniform_loss_is_least_at_one_half() -> None:
    logits = torch.tensor([0.0, 2.0])
    expected = (math.log(2) + (-math.log(sigmoid(2.0)) - math.log(sigmoid(-2.0))) / 2) / 2
    assert adversarial.uniform_loss(logits).item() == pytest.approx(expected)
    assert adversarial.uniform_loss(torch.zeros(3)).item() == pytest.approx(math.log(2))


def test_certainty_by_hand() -> None:
    found = adversarial.certainty(torch.tensor([[1.0, 0.0], [0.5, 0.5]]))
    assert found.tolist() == pytest.approx([2.0, 1.5])


def test_roughness_is_half_the_squared_slope() -> None:
    line = Line(3.0)
    found = adversarial.roughness(line, torch.tensor([[1.0], [-4.0]], requires_grad=True))
    assert found.item() == pytest.approx(4.5)
    found.backward()
    assert line.weight.grad is not None
    assert line.weight.grad.item() == pytest.approx(3.0)


def test_dann_teaches_the_discriminator_and_misleads_it() -> None:
    """With D = w x: loss, dw and the reversed dx of Ganin et al. 2016, equation 9, by hand."""
    term = Reversal(1)
    term.discriminator = Line(2.0)  # type: ignore[assignment]
    both = pair([0.5, 1.5], [-1.0])
    loss = term(both, 0.3)
    expected = ((log1pexp(-1.0) + log1pexp(-3.0)) / 2 + log1pexp(-2.0)) / 2 + SMOOTHNESS * 2.0
    assert loss.item() == pytest.approx(expected)
    loss.backward()
    slopes = [-sigmoid(-1.0) / 4, -sigmoid(-3.0) / 4, sigmoid(-2.0) / 2]  # of the loss, by each logit
    dw = sum(s * x for s, x in zip(slopes, (0.5, 1.5, -1.0), strict=True)) + SMOOTHNESS * 2.0
    assert term.discriminator.weight.grad.item() == pytest.approx(dw)
    reversed_ = [-0.3 * 2.0 * s for s in slopes]
    assert both.source.grad.ravel().tolist() == pytest.approx(reversed_[:2])
    assert both.target.grad.ravel().tolist() == pytest.approx(reversed_[2:])


def test_uniform_confusion_reaches_features_and_discriminator_apart() -> None:
    term = Uniform(1)
    term.discriminator = Line(2.0)  # type: ignore[assignment]
    both = pair([0.5], [-1.0])
    term(both, 0.4).backward()
    dw = (-sigmoid(-1.0) * 0.5 + sigmoid(-2.0) * -1.0) / 2 + SMOOTHNESS * 2.0
    assert term.discriminator.weight.grad.item() == pytest.approx(dw)
    dx = [0.4 * 2.0 * (sigmoid(2.0 * x) - 0.5) / 2 for x in (0.5, -1.0)]
    assert [both.source.grad.item(), both.target.grad.item()] == pytest.approx(dx)


@pytest.mark.parametrize("entropy", [True, False])
def test_cdan_sees_products_and_weighs_by_certainty(entropy: bool) -> None:
    term = Conditional(1, 2, entropy=entropy)
    term.discriminator = Line(1.0)  # type: ignore[assignment]  # sees the first product, x p(first class)
    term.map.width = 2
    both = pair([0.5, 2.0], [1.0])
    chances = [sigmoid(2 * x) for x in (0.5, 2.0, 1.0)]
    logits = [x * p for x, p in zip((0.5, 2.0, 1.0), chances, strict=True)]
    sure = [1 + math.exp(p * math.log(p) + (1 - p) * math.log(1 - p)) if entropy else 1.0 for p in chances]
    ours = (sure[0] * log1pexp(-logits[0]) + sure[1] * log1pexp(-logits[1])) / (sure[0] + sure[1])
    loss = term(both, 1.0)
    assert loss.item() == pytest.approx((ours + log1pexp(logits[2])) / 2 + SMOOTHNESS * 0.5)
    loss.backward()
    slope = sigmoid(logits[2]) / 2
    assert both.target.grad.item() == pytest.approx(-slope * chances[2])  # none through the classes


def test_a_multilinear_map_has_all_products_or_stands_for_them() -> None:
    features, answers = torch.tensor([[1.0, 2.0]]), torch.tensor([[0.25, 0.75]])
    assert adversarial.MultilinearMap(2, 2)(features, answers).tolist() == [[0.25, 0.75, 0.5, 1.5]]
    torch.manual_seed(0)
    wide = adversarial.MultilinearMap(600, 10)
    assert wide.width == 4096
    f, g = torch.randn(2, 600), torch.softmax(torch.randn(2, 10), dim=1)
    mapped = wide(f, g)
    exact = (f @ f.T) * (g @ g.T)
    assert (mapped @ mapped.T).diagonal().tolist() == pytest.approx(exact.diagonal().tolist(), rel=0.15)


def test_coral_distance_by_hand() -> None:
    source, target = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[0.0, 3.0], [0.0, 1.0]])
    # covariances diag(2, 0) and diag(0, 2): squared difference 8, over 4 x 2^2
    assert discrepancy.coral_distance(source, target).item() == pytest.approx(0.5)
    assert discrepancy.coral_distance(source, source + 5).item() == pytest.approx(0.0)


def test_kernel_distance_by_hand() -> None:
    source, target = torch.tensor([[0.0], [2.0]]), torch.tensor([[1.0]])
    mean = (4 + 4 + 1 * 4) / 9  # of the nine squared distances
    near, far = (sum(math.exp(-d / (w * mean)) for w in (0.25, 0.5, 1.0, 2.0, 4.0)) / 5 for d in (1.0, 4.0))
    expected = (1 + far) / 2 + 1 - 2 * near
    assert discrepancy.kernel_distance(source, target).item() == pytest.approx(expected, rel=1e-5)
    assert discrepancy.kernel_distance(source, source).item() == pytest.approx(0.0, abs=1e-6)


def test_joint_distance_sees_what_the_marginals_hide() -> None:
    """The same features and the same answers, but differently matched."""
    features, answers = torch.tensor([[0.0], [2.0]]), torch.eye(2)
    assert discrepancy.kernel_distance(features, features).item() == pytest.approx(0, abs=1e-6)
    crossed = discrepancy.joint_kernel_distance(features, features, answers, answers.flip(0))
    straight = discrepancy.joint_kernel_distance(features, features, answers, answers)
    assert straight.item() == pytest.approx(0, abs=1e-6)
    assert crossed.item() > 0.1


def test_a_term_parts_the_rows_by_domain() -> None:
    """Labelled rows of the target count with the unlabelled ones; a step without source rows adds nothing."""
    network = deep_jobs.network()
    there = Rows({"x": list(np.random.default_rng(1).normal(size=(5, deep_jobs.POINTS)).astype(np.float32))})
    batch = there.batch([0, 1, 2])
    features = network.features(batch)
    sizes: list[tuple[int, int, float]] = []

    def watch(both: Pair, strength: float) -> Any:
        sizes.append((len(both.source), len(both.target), strength))
        np.testing.assert_allclose(
            both.source.detach(), (network.embed(features)[:2] * 6**0.5).detach(), rtol=1e-6
        )
        return both.source.sum()

    def moment(rows: list[int]) -> Moment:
        logits = network.logits(features)
        return Moment(network, rows, features, logits, logits, 0.5, np.random.default_rng(0))

    marks = np.array([False, False, True, True, True])
    term = DomainTerm(Target(there, marks, 4, 0), watch, 2.0)
    term(moment([0, 1, 2]))
    assert sizes == [(2, 5, pytest.approx(2 * adversarial.ramp(0.5)))]
    assert term(moment([2, 3, 4])).item() == 0.0


# Whole jobs.


def lifted(n: int, seed: int, shift: float = SHIFT) -> tuple[np.ndarray, list[str]]:
    x, labels = seen(n, seed)
    return x + shift * np.sign(deep_jobs.weights()["w_low"][:, :1].T), labels


def adapt(root: Path, method: str, *, labelled: int = 0, shift: float = SHIFT, **more: Any) -> Fitted:
    """A job from signals as they are to lifted ones, the first so many of them with labels."""
    folder = root / "blind" if (root / "blind").exists() else deep_jobs.write_blind(root, gain=0.3)
    x, labels = lifted(60, 7, shift)
    known = [label if row < labelled else None for row, label in enumerate(labels)]
    there = SignalJobs(root, [folder]).store("classification", x, known)
    return deep_jobs.run(root, method, seen(60, 0), unlabelled_pack=there, **more)


LONG = {"steps": 300, "batch_size": 60, "head_rate": 0.01}


@pytest.mark.parametrize(("method", "gain"), [("dann", 0.03), ("mmd", 0.12)])
def test_the_target_is_better_served(tmp_path: Path, method: str, gain: float) -> None:
    found, test = adapt(tmp_path, method, shift=0.6, hyperparameters=LONG), lifted(200, 8, 0.6)
    assert accuracy(found, test) > accuracy(adapt(tmp_path, "logistic", shift=0.6), test) + gain
    told = found.report.adaptation
    assert told is not None
    assert told.estimate_domain == "source"
    assert told.a_distance_before is not None
    assert told.a_distance_after is not None
    assert told.a_distance_after < told.a_distance_before


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("blocks", [0, "all"])
def test_equal_jobs_give_equal_artefacts_at_the_top_or_below(
    tmp_path: Path, method: str, blocks: int | str
) -> None:
    first, second = (adapt(tmp_path, method, hyperparameters={"blocks": blocks}) for _ in range(2))
    assert first.manifest.digest == second.manifest.digest
    assert first.manifest.tap == ("input" if blocks else "top")
    found = deep_jobs.stored(deep_jobs.head(first))
    assert ("head_0_weight" in found) == (not blocks)  # a bottleneck where nothing else is trained
    assert [candidate.chosen for candidate in first.report.candidates] == [False, True]


def test_labels_of_the_target_are_learnt_from_and_judge(tmp_path: Path) -> None:
    found = adapt(tmp_path, "dann", labelled=12, hyperparameters={**LONG, "steps": 40})
    assert found.report.adaptation is not None
    assert found.report.adaptation.estimate_domain == "target"
    assert found.report.estimate.n == found.report.adaptation.target_labelled == 12
    assert accuracy(found, lifted(200, 8)) > 0.9


def test_a_bottleneck_begins_as_the_probe() -> None:
    problem = blobs("classification")

    class Ground:
        parent = None

    class Tail:
        module, top = nn.Identity(), "top"

    network: Any = with_bottleneck(16)(Tail(), Ground(), problem)  # type: ignore[arg-type]
    from training.deep.tuning import probe

    head, frame = probe(problem)
    logits = network.logits(torch.from_numpy(problem.X)).detach().numpy()
    np.testing.assert_allclose(logits, head.logits(frame.enter(problem.X)), atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_training_that_diverges_is_no_model(tmp_path: Path, method: str) -> None:
    deep_jobs.write_blind(tmp_path, ("Exp", "Exp"), gain=0.3)
    wild = {"learning_rate": 1.0, "head_rate": 1.0, "steps": 60, "blocks": "all", "weight": 1000}
    with pytest.raises(JobFailed) as failed:
        adapt(tmp_path, method, hyperparameters=wild)
    assert failed.value.code == "non_finite"


def test_without_a_target_there_is_nothing_to_adapt_to(tmp_path: Path) -> None:
    with pytest.raises(JobFailed) as refused:
        deep_jobs.run(tmp_path, "dann")
    assert refused.value.code == "no_unlabelled_data"


def test_joint_matching_is_for_classes(tmp_path: Path) -> None:
    x, _ = seen(24, 0)
    folder = deep_jobs.write_blind(tmp_path)
    there = SignalJobs(tmp_path, [folder]).store("regression", x, [None] * len(x))
    with pytest.raises(JobFailed) as refused:
        deep_jobs.run(
            tmp_path,
            "mmd",
            (x, [float(v) for v in x[:, 0]]),
            task="regression",
            unlabelled_pack=there,
            hyperparameters={"joint": True},
        )
    assert refused.value.code == "bad_hyperparameters"


# The guard.


def evidence(problem: Problem, right: float) -> Evidence:
    """Answers of which that share is right."""
    wrong = np.arange(len(problem)) >= right * len(problem)
    y = np.where(wrong, (problem.y + 1) % len(problem.labels), problem.y)
    return Evidence({}, problem, 5.0 * np.eye(len(problem.labels))[y], 1.0)


def domains(where: str, before: float | None = 1.0, after: float | None = 1.0) -> Adaptation:
    told = {"source_examples": 24, "target_examples": 9, "target_labelled": 0, "estimate_domain": where}
    return Adaptation.model_validate({**told, "a_distance_before": before, "a_distance_after": after})


@pytest.mark.parametrize(
    ("where", "plain", "adapted", "warned"),
    [
        ("target", 0.9, 0.6, True),
        ("target", 0.9, 0.9, False),
        ("target", 0.6, 0.9, False),
        ("source", 0.9, 0.6, True),
        ("source", 0.92, 0.9, False),
    ],
)
def test_harm_is_told_where_labels_show_it(where: str, plain: float, adapted: float, warned: bool) -> None:
    problem = blobs("classification", 50)
    found = harm(evidence(problem, plain), evidence(problem, adapted), domains(where))
    assert bool(found) == warned
    if warned:
        assert f"of the {where}" in found[0]
        assert "30.0 points" in found[0]


def test_domains_that_part_are_told() -> None:
    problem = blobs("classification")
    same = evidence(problem, 1.0)
    assert not harm(same, same, domains("source", 1.0, 1.05))
    assert not harm(same, same, domains("source", None, None))
    (warning,) = harm(same, same, domains("source", 1.0, 1.5))
    assert "1.50" in warning


def test_regression_is_judged_by_variance() -> None:
    problem = blobs("regression")
    exact = Evidence({}, problem, problem.targets, 1.0)
    off = replace(exact, logits=problem.targets + problem.targets.std())
    (warning,) = harm(exact, off, domains("target"))
    assert "100.0 points of variance" in warning
