"""Bases and their posterior against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest

from models.runtime import open_session
from training.frame import Frame
from training.signals.bases import Basis, apply, fourier, learned, splines
from training.signals.head import BasisHead, reader
from training.signals.posterior import solve

LOW, HIGH = np.array([-5.0]), np.array([5.0])
X = np.linspace(-5, 5, 301)[:, None]


def sines(rows: int, seed: int, noise: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    size, phase = rng.uniform(0.1, 5, rows), rng.uniform(0, np.pi, rows)
    curves = size[:, None] * np.sin(X[:, 0] + phase[:, None])
    return curves + noise * rng.standard_normal(curves.shape)


EVERY = {
    "fourier": fourier(LOW, 7, np.array([12.0]), 2.0),
    "splines": splines(LOW, HIGH, 9, 2.0),
    "learned": learned(sines(20, 0), -5.0, 5.0, 3),
    "two inputs": splines(np.array([0.0, -1.0]), np.array([2.0, 1.0]), 8, 1.0),
    "two waves": fourier(np.array([0.0, -1.0]), 8, np.array([2.0, 3.0]), 1.0),
}
every_basis = pytest.mark.parametrize("basis", EVERY.values(), ids=EVERY)


def test_elementwise_functions() -> None:
    z = np.array([-2.0, -1.0, 0.0, 0.5, 1.0])
    np.testing.assert_allclose(apply("bump", z), [0, 1 / 6, 4 / 6, (1.5**3 - 4 * 0.5**3) / 6, 1 / 6])
    np.testing.assert_allclose(apply("hat", z), [0, 0, 1, 0.5, 0])
    np.testing.assert_allclose(apply("sine", z), np.sin(z))


def test_fourier_by_hand() -> None:
    design = EVERY["fourier"].design(np.array([[-2.0]]))
    angle = 2 * np.pi * 3 / 12
    expected = [1] + [f(j * angle) for j in (1, 2, 3) for f in (np.sin, np.cos)]
    np.testing.assert_allclose(design[0], expected, atol=1e-12)
    np.testing.assert_allclose(EVERY["fourier"].spread[1:], np.repeat([16 / 17, 1 / 2, 16 / 97], 2))


def test_splines_are_orthogonal_and_the_first_is_the_straight_line() -> None:
    design = EVERY["splines"].design(X)
    np.testing.assert_allclose(design[:, 0], 1)
    middle = EVERY["splines"].design(-5 + 10 * (np.arange(5000)[:, None] + 0.5) / 5000)[:, 1:]
    np.testing.assert_allclose(middle.T @ middle / 5000, np.eye(8), atol=1e-3)
    np.testing.assert_allclose(middle.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.abs(design[:, 1]), np.abs(X[:, 0]) * np.sqrt(12) / 10, atol=1e-3)
    assert (np.diff(EVERY["splines"].spread) <= 1e-9).all()


def test_splines_hold_their_ends() -> None:
    basis = EVERY["splines"]
    np.testing.assert_allclose(basis.design(np.array([[99.0]])), basis.design(HIGH[None]))


def test_learned_basis_is_mean_and_components() -> None:
    curves = sines(20, 0)
    design = EVERY["learned"].design(X)
    np.testing.assert_allclose(design[:, 0], curves.mean(axis=0), atol=1e-5)
    assert EVERY["learned"].coefficients == 2  # sines of one period span two dimensions, whatever is asked
    weights = np.linalg.lstsq(design, sines(1, 5)[0], rcond=None)[0]
    np.testing.assert_allclose(design @ weights, sines(1, 5)[0], atol=1e-5)
    variance = ((curves - curves.mean(axis=0)) @ design[:, 1:]).var(axis=0, ddof=1)
    np.testing.assert_allclose(EVERY["learned"].spread[1:] ** 2, variance, rtol=1e-5)


def test_noise_of_the_curves_is_no_component() -> None:
    noisy, clean = learned(sines(200, 0, noise=0.3), -5, 5, 10), learned(sines(200, 0), -5, 5, 10)
    assert (noisy.coefficients, clean.coefficients) == (2, 2)
    np.testing.assert_allclose(noisy.spread, clean.spread, rtol=0.1)


def test_additive_model_has_no_cross_terms() -> None:
    basis = EVERY["two inputs"]
    corners = basis.design(np.array([[0.0, -1], [2, -1], [0, 1], [2, 1]]))
    np.testing.assert_allclose(corners[0] + corners[3], corners[1] + corners[2], atol=1e-9)


@every_basis
def test_graph_is_the_head(basis: Basis) -> None:
    rng = np.random.default_rng(0)
    inputs = len(basis.low)
    coefficients = rng.normal(size=(basis.mixing.shape[1], 1))
    head = BasisHead(basis, coefficients, reader(inputs, 64), np.zeros(inputs))
    x = rng.uniform(-6, 6, (40, inputs))
    at = np.linspace(0, inputs - 1, 64)
    features = np.stack([np.interp(at, np.arange(inputs), row) for row in x]).astype(np.float32)
    expected = basis.design(x) @ coefficients
    np.testing.assert_allclose(head.logits(features), expected, atol=2e-5)
    found = open_session(head.to_onnx()).run(None, {"features": features})[0]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    frame = Frame.of(features)
    lifted = BasisHead(basis, coefficients, np.eye(frame.enter(features).shape[1], inputs), np.ones(inputs))
    np.testing.assert_allclose(
        lifted.lifted(frame).logits(features), lifted.logits(frame.enter(features)), atol=1e-3
    )
    np.testing.assert_allclose(head.scaled(2.0).logits(features), 2 * head.logits(features))


def test_narrow_range_far_from_zero_survives_float32() -> None:
    low = np.array([9000.0])
    basis = splines(low, low + 10, 8, 4.0)
    head = BasisHead(basis, np.arange(8.0)[:, None], reader(1, 16), np.zeros(1))
    features = np.repeat(np.linspace(9000, 9010, 50, dtype=np.float32)[:, None], 16, axis=1)
    found = open_session(head.to_onnx()).run(None, {"features": features})[0]
    np.testing.assert_allclose(found, head.logits(features), atol=1e-4)


@pytest.mark.parametrize("inputs", [1, 2, 3, 7, 16])
def test_reader_undoes_resampling(inputs: int) -> None:
    x = np.random.default_rng(inputs).normal(size=(5, inputs))
    at = np.linspace(0, inputs - 1, 256)
    resampled = np.stack([np.interp(at, np.arange(inputs), row) for row in x])
    np.testing.assert_allclose(resampled @ reader(inputs, 256), x, atol=1e-9)


def test_reader_refuses_what_was_not_kept() -> None:
    with pytest.raises(ValueError, match="More values"):
        reader(9, 16)


def test_known_noise_and_scale_give_the_textbook_posterior() -> None:
    basis, rng = EVERY["learned"], np.random.default_rng(1)
    x, y = rng.uniform(-5, 5, (6, 1)), rng.normal(size=6)
    design = basis.design(x)
    rest, prior = y - design[:, 0], np.diag(basis.spread[1:] ** 2)
    gram = design[:, 1:] @ prior @ design[:, 1:].T + 0.3**2 * np.eye(6)
    expected = prior @ design[:, 1:].T @ np.linalg.solve(gram, rest)
    found = solve(basis, x, y, noise=0.3)
    np.testing.assert_allclose(found.coefficients, [1, *expected])
    log_density = -0.5 * (rest @ np.linalg.solve(gram, rest) + np.linalg.slogdet(gram)[1])
    assert found.log_evidence == pytest.approx(log_density)
    assert found.noise == pytest.approx(0.3)


def test_left_out_is_the_fit_without_the_row() -> None:
    basis, rng = EVERY["learned"], np.random.default_rng(1)
    x, y = rng.uniform(-5, 5, (6, 1)), rng.normal(size=6)
    found = solve(basis, x, y, noise=0.3).left_out
    for row in range(6):
        others = np.arange(6) != row
        without = solve(basis, x[others], y[others], noise=0.3)
        assert found[row] == pytest.approx(float((basis.design(x[row : row + 1]) @ without.coefficients)[0]))


def test_evidence_finds_the_noise_and_the_level_is_free() -> None:
    rng = np.random.default_rng(2)
    x = rng.uniform(-5, 5, (200, 1))
    y = 1000 + np.sin(x[:, 0]) + 0.1 * rng.normal(size=200)
    found = solve(splines(LOW, HIGH, 20, 4.0), x, y)
    assert found.noise == pytest.approx(0.1, rel=0.15)
    curve = splines(LOW, HIGH, 20, 4.0).design(X) @ found.coefficients
    assert np.sqrt(((curve - 1000 - np.sin(X[:, 0])) ** 2).mean()) < 0.06


def test_exact_values_are_met() -> None:
    curves, truth = sines(50, 0), sines(1, 9)[0]
    basis = learned(curves, -5.0, 5.0, 2)
    rows = [20, 100, 170, 220, 290]
    found = solve(basis, X[rows], truth[rows])
    assert float(((basis.design(X) @ found.coefficients - truth) ** 2).mean()) < 1e-4
