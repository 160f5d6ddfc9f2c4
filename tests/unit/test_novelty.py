"""Telling the unknown: what is kept, where the line is drawn, and what lies above it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.errors import CorruptArtefact
from models.novelty import Kernel, Novelty, Support, signs, unknown_each
from training.novelty import Examples, fit_novelty, spread_out

CENTRES = 6 * np.eye(3, 12)


def sample(per_class: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    y = np.repeat(np.arange(3), per_class)
    return (CENTRES[y] + np.random.default_rng(seed).normal(size=(len(y), 12))).astype(np.float32), y


def even(n: int) -> np.ndarray:
    """Scores of a head that knows nothing."""
    return np.full((n, 3), 1 / 3)


def fitted(per_class: int = 20) -> tuple[Novelty, float]:
    X, y = sample(per_class)
    found = fit_novelty(Examples(X, y, even(len(y))))
    assert found is not None
    return found


def test_distances_are_those_of_the_rounded_examples() -> None:
    X, _ = sample(4)
    X[:, 3] *= 100  # columns of very different size are rounded each in its own steps
    support = Support.of(X + 1000)
    queries = sample(2, seed=1)[0] + 1000
    expected = ((queries[:, None].astype(float) - support.rows) ** 2).sum(axis=2)
    np.testing.assert_allclose(support.distances(queries), expected, rtol=1e-3)
    steps = np.abs(X - X.mean(axis=0)).max(axis=0) / 127
    assert (np.abs(support.rows - (X + 1000)) <= 0.51 * steps + 1e-4).all()


def test_a_column_that_never_varies_is_no_distance() -> None:
    support = Support.of(np.ones((3, 2)))
    np.testing.assert_allclose(support.distances(np.ones((1, 2))), 0)


def test_signs_by_hand() -> None:
    squared = np.array([[4.0, 9.0], [1.0, 0.25]])
    outputs = np.array([[0.3, 0.7], [0.9, 0.1]])
    np.testing.assert_allclose(signs(squared, outputs, None), [[2, 0.3], [0.5, 0.1]])
    kernel = Kernel(np.eye(2, dtype=np.float16), np.zeros(2, np.float32), gamma=1.0)
    np.testing.assert_allclose(
        signs(squared, outputs, kernel), [[2, 1 - np.exp(-4)], [0.5, 1 - np.exp(-0.25)]]
    )


def test_the_known_are_known_and_strangers_are_not() -> None:
    found, false_alarms = fitted()
    fresh, _ = sample(300, seed=1)
    strange = 6 * np.eye(12)[5] + np.random.default_rng(2).normal(size=(300, 12)).astype(np.float32)
    assert false_alarms == pytest.approx(0.05, abs=0.02)
    assert found.unknown(fresh, even(900)).mean() < 0.08
    assert found.unknown(strange, even(300)).mean() > 0.95


def test_far_from_everything_is_more_novel_the_further() -> None:
    found, _ = fitted()
    away = np.outer([0, 10, 20, 40, 80], np.eye(12)[7]).astype(np.float32)
    assert (np.diff(found.score(away, even(5))) > 0).all()


def test_rejects_about_a_twentieth_of_new_examples() -> None:
    # At the plain 95th percentile, in place of rank ceil(0.95 (n + 1)), the mean would be above 5 %.
    alarms = []
    for seed in range(40):
        X, y = sample(10, seed)
        found, _ = fit_novelty(Examples(X, y, even(30)))
        alarms.append(found.unknown(sample(100, seed + 1000)[0], even(300)).mean())
    assert 0.01 < np.mean(alarms) < 0.05


def test_many_examples_are_thinned_evenly_and_the_heads_scores_take_over() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1, 2], [900, 500, 100])
    X = rng.normal(size=(1500, 384)).astype(np.float32)
    examples = Examples(X, y, rng.dirichlet(np.ones(3), 1500))
    kept = spread_out(examples, 390)
    np.testing.assert_array_equal(np.bincount(y[kept]), [145, 145, 100])
    found, _ = fit_novelty(examples)
    assert found.kernel is None
    assert len(found.centre) == 2
    assert found.nbytes < 270_000
    sure, unsure = np.eye(3)[[0]], even(1)
    assert found.score(X[:1], sure) < found.score(X[:1], unsure)


def test_without_classes_only_distance_counts() -> None:
    X, _ = sample(10)
    found, _ = fit_novelty(Examples(X))
    assert found.kernel is None
    nearest = np.sqrt(found.support.distances(X + 3).min(axis=1))
    np.testing.assert_allclose(
        found.score(X + 3, even(30)), (nearest - found.centre[0]) / found.spread[0], rtol=1e-5
    )


@pytest.mark.parametrize("X", [np.random.default_rng(0).normal(size=(19, 4)), np.ones((40, 4))])
def test_too_few_or_all_alike_draw_no_line(X: np.ndarray) -> None:
    assert fit_novelty(Examples(X)) is None


def test_bytes_are_stable_and_read_back() -> None:
    found, _ = fitted()
    again = Novelty.from_bytes(found.to_bytes(), dim=12)
    X, _ = sample(5, seed=3)
    np.testing.assert_array_equal(again.score(X, even(15)), found.score(X, even(15)))
    assert again.to_bytes() == found.to_bytes() == fitted()[0].to_bytes()
    plain = Novelty.from_bytes(replace(found, kernel=None).to_bytes(), dim=12)
    assert plain.kernel is None


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", fitted()[0].to_bytes()[:-40]])
def test_unreadable_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptArtefact, match="cannot be read"):
        Novelty.from_bytes(data, dim=12)


def test_another_taps_novelty_is_refused() -> None:
    with pytest.raises(CorruptArtefact, match="does not fit"):
        Novelty.from_bytes(fitted()[0].to_bytes(), dim=11)


def test_rows_of_many_models_are_told_as_each_alone() -> None:
    rng = np.random.default_rng(5)
    novelties, rows, outputs = [], [], []
    for classes in range(2, 14):
        y = np.repeat(np.arange(classes), 12)
        X = (3 * rng.normal(size=(classes, 16))[y] + rng.normal(size=(len(y), 16))).astype(np.float32)
        scores = (np.eye(classes)[y] * 0.8 + 0.2 / classes).astype(np.float32)
        kinds = (Examples(X, y, scores), Examples(X))
        found = [fitted for kind in kinds if (fitted := fit_novelty(kind)) is not None]
        assert len(found) == 2
        for novelty, _ in found:
            for row in (X[0], X[-1], 9 * X[0], rng.normal(size=16).astype(np.float32)):
                novelties.append(novelty)
                rows.append(row)
                outputs.append(scores[0])
    together = unknown_each(novelties, np.stack(rows), outputs)
    alone = [n.unknown(x[None], o[None])[0] for n, x, o in zip(novelties, rows, outputs, strict=True)]
    assert together.tolist() == alone
    assert 0 < sum(alone) < len(alone)
