"""Chains of stages: training goes on from the tail, and where it fits the head, of an earlier model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.errors import JobFailed
from tests import deep_jobs
from tests.deep_jobs import accuracy, answers, head, run, seen, stored, unseen, weights
from tests.signal_jobs import Fitted

pytest.importorskip("torch", reason="training below the top needs torch")

STILL = {"learning_rate": 1e-12, "head_rate": 1e-12, "steps": 1}
LEARN = {"learning_rate": 0.05, "head_rate": 0.05, "steps": 40, "batch_size": 16, "blocks": "all"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path


def after(parent: Fitted, method: str, data: Any, **given: Any) -> Fitted:
    return run(parent.output.parent, method, data, parent=str(parent.output), hyperparameters=given)


def flipped(data: tuple[np.ndarray, list[str]]) -> tuple[np.ndarray, list[str]]:
    return data[0], ["down" if label == "up" else "up" for label in data[1]]


def test_simulation_then_augmented_then_target(root: Path) -> None:
    """The last stage has six examples of what the backbone is blind to; the others have taught it to see."""
    simulation = run(root, "finetune", unseen(60, 0), hyperparameters=LEARN)
    augmented = after(simulation, "finetune", unseen(60, 1), **LEARN, augment="light")
    x, labels = unseen(6, 2)
    target = x + 0.2, labels
    alone = run(root, "finetune", target, hyperparameters={"blocks": 1})
    found = after(augmented, "finetune", target, blocks=1)
    x, labels = unseen(200, 3)
    assert accuracy(found, (x + 0.2, labels)) > 0.9
    assert accuracy(found, (x + 0.2, labels)) > accuracy(alone, (x + 0.2, labels)) + 0.2


def test_a_stage_begins_as_its_parent(root: Path) -> None:
    parent = run(root, "finetune", unseen(40, 0), hyperparameters=LEARN)
    child = after(parent, "finetune", unseen(30, 5), **STILL, blocks=1)
    assert child.manifest.tap == parent.manifest.tap == "input"  # lower than asked: what changed is kept
    for name, number in stored(head(parent)).items():
        if name in weights():
            np.testing.assert_allclose(stored(head(child))[name], number, atol=1e-6)
    logits = [np.diff(np.log(answers(one, unseen(10, 6)[0])), axis=1) for one in (child, parent)]
    factor = logits[0] / logits[1]
    np.testing.assert_allclose(factor, factor.mean(), rtol=1e-3)


def test_blocks_below_those_to_train_stay_the_parents(root: Path) -> None:
    parent = run(root, "finetune", unseen(40, 0), hyperparameters=LEARN)
    child = stored(head(after(parent, "finetune", unseen(30, 5), blocks=1, learning_rate=0.05)))
    np.testing.assert_array_equal(child["w_low"], stored(head(parent))["w_low"])
    assert np.abs(child["w_top"] - stored(head(parent))["w_top"]).max() > 0.01


def test_other_classes_get_a_head_of_their_own_on_the_parents_features(root: Path) -> None:
    parent = run(root, "finetune", unseen(40, 0), hyperparameters=LEARN)
    x, labels = unseen(30, 5)
    child = after(parent, "finetune", (x, [f"new-{label}" for label in labels]), **STILL)
    assert child.manifest.labels == ("new-down", "new-up")
    x, labels = unseen(100, 6)
    assert accuracy(child, (x, [f"new-{label}" for label in labels])) > 0.9


def test_a_parent_without_blocks_of_its_own_changes_nothing(root: Path) -> None:
    parent = run(root, "logistic", seen(24, 0))
    child = after(parent, "finetune", seen(24, 1))
    alone = run(root, "finetune", seen(24, 1))
    assert child.manifest.digest == alone.manifest.digest


@pytest.mark.parametrize("method", ["finetune", "logistic"])
def test_conservative_training_keeps_to_its_parent(root: Path, method: str) -> None:
    """A parent that has it all wrong is believed when nearly all the weight lies on it, and that is told."""
    given = {"learning_rate": 0.01, "steps": 20} if method == "finetune" else {}
    parent = run(root, method, flipped(seen(40, 0)), hyperparameters=given)
    free = {"learning_rate": 0.02, "head_rate": 0.1, "steps": 80}
    believer = after(parent, "output_kl", seen(24, 1), **free, rho=0.99)
    doubter = after(parent, "output_kl", seen(24, 1), **free, rho=0.0)
    assert accuracy(believer, seen(100, 2)) < 0.2
    assert accuracy(doubter, seen(100, 2)) > 0.8
    assert any("logistic" in warning for warning in believer.report.warnings)


def test_learning_twice_from_the_same_examples_is_told(root: Path) -> None:
    parent = run(root, "finetune", seen(24, 0))
    again = after(parent, "finetune", seen(24, 0))
    assert any("same examples" in warning for warning in again.report.warnings)
    other = after(parent, "finetune", seen(24, 1))
    assert not any("same examples" in warning for warning in other.report.warnings)


def test_a_parent_on_another_backbone_is_refused(root: Path) -> None:
    (root / "other").mkdir()
    deep_jobs.write_blind(root / "other", gain=2.0)
    parent = run(root / "other", "finetune", seen(24, 0))
    with pytest.raises(JobFailed) as failed:
        run(root, "finetune", parent=str(parent.output))
    assert failed.value.code == "parent_mismatch"
