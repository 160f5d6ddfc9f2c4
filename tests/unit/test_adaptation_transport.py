"""Transport plans: marginals, optimality, the group penalty, and another implementation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from training.adaptation.transport import barycentres, class_sinkhorn, sinkhorn


def costs(rows: int = 6, columns: int = 9, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0, 2, (rows, columns))


@pytest.mark.parametrize("entropy", [0.05, 0.1, 1.0])
def test_marginals_are_uniform(entropy: float) -> None:
    plan = sinkhorn(costs(), entropy)
    np.testing.assert_allclose(plan.sum(axis=1), 1 / 6, atol=1e-6)
    np.testing.assert_allclose(plan.sum(axis=0), 1 / 9, atol=1e-6)


def test_plan_is_the_kernel_scaled_by_rows_and_columns() -> None:
    cost = costs()
    potentials = np.log(sinkhorn(cost, 0.3)) + cost / 0.3  # u_i + v_j: the optimality condition
    interaction = potentials - potentials.mean(axis=0) - potentials.mean(axis=1)[:, None] + potentials.mean()
    np.testing.assert_allclose(interaction, 0, atol=1e-9)


def test_two_by_two_by_hand() -> None:
    plan = sinkhorn(np.array([[0.0, 1.0], [1.0, 0.0]]), 1.0)
    near = 0.5 / (1 + np.exp(-1.0))
    np.testing.assert_allclose(plan, [[near, 0.5 - near], [0.5 - near, near]], atol=1e-9)


def test_group_penalty_parts_the_classes_by_target_row() -> None:
    rng = np.random.default_rng(1)
    source, target = rng.normal(size=(20, 2)), rng.normal(size=(30, 2))
    cost = ((source[:, None] - target) ** 2).sum(axis=2)
    classes = np.eye(2)[np.arange(20) % 2]

    def mixing(plan: np.ndarray) -> float:
        return float((classes.T @ plan).min(axis=0).sum())

    assert mixing(class_sinkhorn(cost, classes, 0.2, 0.5)) < 0.7 * mixing(sinkhorn(cost, 0.2))


def test_barycentres_are_means_of_what_a_row_meets() -> None:
    target = np.array([[0.0, 0.0], [2.0, 4.0]])
    np.testing.assert_allclose(barycentres(np.array([[0.25, 0.25], [0.5, 0.0]]), target), [[1, 2], [0, 0]])


def test_plans_are_those_of_python_optimal_transport(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POT_BACKEND_DISABLE_PYTORCH", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own docstrings are not valid escapes
        import ot
    cost, uniform = costs(), (np.full(6, 1 / 6), np.full(9, 1 / 9))
    np.testing.assert_allclose(
        sinkhorn(cost, 0.2), ot.sinkhorn(*uniform, cost, 0.2, stopThr=1e-12), atol=1e-7
    )
    y = np.array([0, 0, 1, 1, 2, 2])
    expected = ot.da.sinkhorn_lpl1_mm(
        uniform[0], y, uniform[1], cost, 0.2, 0.1, numItermax=50, stopInnerThr=1e-12
    )
    np.testing.assert_allclose(class_sinkhorn(cost, np.eye(3)[y], 0.2, 0.1), expected, atol=2e-3)
