"""Fine-tuning as a job: where it starts, what it changes, what it claims, and how it fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import JobFailed
from models.runtime import open_session
from tests import deep_jobs
from tests.deep_jobs import accuracy, answers, head, run, seen, stored, unseen, weights
from tests.signal_jobs import Fitted
from training.methods.base import Problem

torch = pytest.importorskip("torch", reason="training below the top needs torch")

from training.deep.tuning import probe  # noqa: E402

TAILS = ("finetune", "first_layers", "l2_sp", "output_kl", "lora")
STILL = {"learning_rate": 1e-12, "head_rate": 1e-12, "steps": 1}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def chance(n: int) -> tuple[np.ndarray, list[str]]:
    """Signals with labels that say nothing."""
    draw = np.random.default_rng(9).random(n) < 0.5
    return seen(n, 0)[0], ["up" if one else "down" for one in draw]


@pytest.mark.parametrize("method", TAILS)
def test_training_starts_at_the_linear_probe(root: Path, method: str) -> None:
    x, _ = seen(10, 5)
    plain = run(root, "logistic", hyperparameters={"C": 10.0})
    found = run(root, method, hyperparameters=STILL)
    np.testing.assert_array_equal(answers(found, x).argmax(axis=1), answers(plain, x).argmax(axis=1))
    logits = [np.diff(np.log(answers(one, x)), axis=1) for one in (found, plain)]
    factor = logits[0] / logits[1]  # of the two temperatures
    np.testing.assert_allclose(factor, factor.mean(), rtol=1e-3)


@pytest.mark.parametrize("method", TAILS)
def test_equal_jobs_give_equal_artefacts(root: Path, method: str) -> None:
    first, second = (run(root, method, hyperparameters={"learning_rate": 0.01}) for _ in range(2))
    assert first.manifest.digest == second.manifest.digest
    assert first.manifest.head.kind == "tail"


def test_the_job_says_how_many_threads_and_not_the_machine(root: Path) -> None:
    """How many share a sum decides how it is rounded: equal jobs would differ between machines."""
    before = torch.get_num_threads()
    try:
        for threads in (2, 1):
            torch.set_num_threads(3)
            run(root, "finetune", hyperparameters={"steps": 1}, threads=threads)
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("method", TAILS)
def test_features_change_where_they_must(root: Path, method: str) -> None:
    """The probe cannot see the class at all; three hundred numbers of the first layer can."""
    rates = {"learning_rate": 0.05, "head_rate": 0.05, "steps": 40, "batch_size": 16}
    more: dict[str, Any] = {"alpha": 0.0} if method == "l2_sp" else {}
    blocks = {} if method == "first_layers" else {"blocks": "all"}
    found = run(root, method, unseen(40, 0), hyperparameters={**rates, **blocks, **more})
    probe = next(b for b in found.report.baselines if b.name.startswith("logistic"))
    assert probe.value < 0.75
    assert accuracy(found, unseen(200, 1)) > 0.9
    assert found.report.estimate.value is not None
    assert found.report.estimate.value > probe.value + 0.1
    assert found.manifest.tap == "input"


def test_more_blocks_with_more_examples(root: Path) -> None:
    found = run(root, "finetune", hyperparameters={"steps": 1})
    assert (found.manifest.hyperparameters["blocks"], found.manifest.tap) == (1, "low")
    assert "w_low" not in stored(head(found))
    many = run(root, "finetune", seen(200, 0), hyperparameters={"steps": 1})
    assert (many.manifest.hyperparameters["blocks"], many.manifest.tap) == (2, "input")


def test_first_layers_leave_the_last_alone(root: Path) -> None:
    found = stored(head(run(root, "first_layers", hyperparameters={"learning_rate": 0.05})))
    np.testing.assert_array_equal(found["w_top"], weights()["w_top"])
    assert np.abs(found["w_low"] - weights()["w_low"]).max() > 0.01


def test_a_penalty_keeps_the_weights_near_their_start(root: Path) -> None:
    def moved(alpha: float) -> float:
        given = {"learning_rate": 0.05, "alpha": alpha, "steps": 20}
        found = stored(head(run(root, "l2_sp", unseen(24, 0), hyperparameters=given)))
        return float(np.abs(found["w_top"] - weights()["w_top"]).sum())

    assert moved(100.0) < 0.5 * moved(0.0)


def test_answers_are_held_to_the_source(root: Path) -> None:
    x, labels = seen(24, 0)
    wrong = labels[1:] + labels[:1]  # what the new labels teach is the opposite of what the probe knows
    start = run(root, "output_kl", (x, wrong), hyperparameters=STILL)

    def away(rho: float) -> float:
        given = {"learning_rate": 0.05, "head_rate": 0.05, "steps": 20, "rho": rho}
        found = run(root, "output_kl", (x, wrong), hyperparameters=given)
        return float(np.abs(answers(found, x) - answers(start, x)).mean())

    assert away(0.99) < 0.7 * away(0.0)


def test_low_rank_changes_are_merged(root: Path) -> None:
    found = stored(
        head(run(root, "lora", hyperparameters={"rank": 1, "learning_rate": 0.05, "blocks": "all"}))
    )
    assert {name for name in found if not name.startswith("head_")} == {"w_low", "w_top"}
    for name, before in weights().items():
        change = np.linalg.svd(found[name] - before, compute_uv=False)
        assert change[0] > 1e-3
        assert change[1] < 1e-5 * max(1.0, change[0])


@pytest.mark.parametrize("method", TAILS)
def test_values_are_learnt(root: Path, method: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, deep_jobs.POINTS))
    data = x, [float(v) for v in 3 + x[:, 0]]
    found = run(root, method, data, task="regression", hyperparameters={"steps": 15, "learning_rate": 1e-3})
    assert found.report.estimate.metric == "rmse"
    guess = next(b for b in found.report.baselines if b.name.startswith("mean"))
    assert found.report.estimate.value is not None
    assert found.report.estimate.value < 0.7 * guess.value
    assert any(b.name.startswith("ridge") for b in found.report.baselines)
    assert found.manifest.interval is not None


@pytest.mark.parametrize("method", TAILS)
def test_several_labels_are_learnt(root: Path, method: str) -> None:
    x = np.random.default_rng(0).normal(size=(30, deep_jobs.POINTS))
    labels = [[name for name, on in zip("ab", row[:2] > 0, strict=True) if on] for row in x]
    found = run(root, method, (x, labels), task="multilabel", hyperparameters={"learning_rate": 1e-3})
    assert found.manifest.head.activation == "sigmoid"
    assert found.report.estimate.value is not None
    assert found.report.estimate.value > 0.6


@pytest.mark.parametrize("method", ["finetune", "l2_sp", "lora"])
def test_a_training_that_diverges_is_no_model(root: Path, method: str) -> None:
    deep_jobs.write_blind(root, ("Exp", "Exp"), gain=0.3)  # where there is no way back
    wild = {"learning_rate": 1.0, "head_rate": 1.0, "steps": 60}
    with pytest.raises(JobFailed) as failed:
        run(root, method, chance(24), hyperparameters=wild)
    assert failed.value.code == "non_finite"
    assert "learning_rate" in failed.value.message


def test_time_that_runs_out_cuts_the_steps(root: Path) -> None:
    found = run(root, "finetune", hyperparameters={"steps": 20_000, "time_budget_s": 0.3})
    assert 3 <= int(str(found.manifest.hyperparameters["steps"])) < 20_000


def test_the_estimate_is_out_of_fold(root: Path) -> None:
    """Labels at random can be learnt by heart, but not foreseen."""
    given = {"learning_rate": 0.1, "head_rate": 0.1, "steps": 150, "blocks": "all"}
    found = run(root, "finetune", chance(40), hyperparameters=given)
    assert accuracy(found, chance(40)) > 0.95
    assert found.report.estimate.value is not None
    assert found.report.estimate.value < 0.85
    assert found.report.estimate.n == 40


def served(fitted: Fitted) -> np.ndarray:
    return answers(fitted, seen(6, 8)[0])


def test_copies_are_learnt_from_and_never_judged(root: Path) -> None:
    given = {"augment": "strong", "learning_rate": 0.01}
    plain, varied = (run(root, "finetune", hyperparameters=more) for more in ({"learning_rate": 0.01}, given))
    assert varied.report.estimate.n == plain.report.estimate.n == 24
    assert varied.manifest.hyperparameters["augment"] == "strong"
    assert np.abs(served(varied) - served(plain)).max() > 1e-6
    still = run(root, "finetune", hyperparameters={**STILL, "augment": "strong"})
    np.testing.assert_allclose(served(still), served(run(root, "finetune", hyperparameters=STILL)), atol=1e-6)


@pytest.mark.parametrize("behind", [True, False])
def test_a_head_that_lags_behind_ends_as_the_probe_of_the_trained_features(root: Path, behind: bool) -> None:
    """By hand: logistic regression on the embedding of the examples, up to its temperature.

    Features learn to see what the probe at the start did not; a head that learns with them needs no other.
    """
    x, labels = unseen(60, 2) if behind else unseen(40, 2)
    rates = {"learning_rate": 0.05, "head_rate": 1e-12 if behind else 1.0}
    found = run(root, "finetune", (x, labels), hyperparameters={**rates, "steps": 60, "blocks": "all"})
    scores, features = open_session(head(found)).run(None, {"x": np.asarray(x, "f4")})
    y = np.array([label == "up" for label in labels]) * 1
    fitted, frame = probe(Problem(features, y, "classification", ("a", "b")))
    expected = np.diff(fitted.logits(frame.enter(features)), axis=1)
    factor = np.diff(np.log(scores), axis=1) / expected
    assert np.allclose(factor, factor.mean(), rtol=2e-2) == behind
    assert bool(found.manifest.hyperparameters.get("refit")) == behind
