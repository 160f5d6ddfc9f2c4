"""The simulator obeys the physics it names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from training.pretrain.materials import COMPOUNDS, FOODS, WATER, WORT, Band
from training.pretrain.spectra import (
    FWHM_PER_SIGMA,
    IDEAL_INSTRUMENT,
    IDEAL_SAMPLING,
    Instrument,
    beer_lambert,
    blur,
    coefficient,
    measure,
    simulate,
    voigt,
)

GRID = IDEAL_INSTRUMENT.grid


def ideal(seed: int = 0, n: int = 12):
    return simulate(n, seed, sampling=IDEAL_SAMPLING, instrument=IDEAL_INSTRUMENT)


def test_absorbance_is_path_times_concentration_times_coefficient():
    concentrations = np.zeros((1, len(COMPOUNDS)))
    concentrations[0, COMPOUNDS.index(WATER)] = 500.0  # kg/m³
    got = beer_lambert(concentrations, np.array([2e-3]), GRID[None])
    np.testing.assert_allclose(got[0], 2e-3 * 500.0 * coefficient(WATER, GRID))


def test_a_millimetre_of_water_absorbs_as_water_does():
    at_overtone, at_combination = 1e-3 * 1000 * coefficient(WATER, np.array([1450.0, 1940.0]))
    assert 1.0 < at_overtone < 1.5
    assert 4.5 < at_combination < 5.7


def test_without_disturbance_spectra_are_linear_in_concentration():
    rng = np.random.default_rng(0)
    amounts = rng.uniform(0, 300, (4, len(COMPOUNDS)))

    def read(c):
        return measure(c, np.random.default_rng(1), IDEAL_SAMPLING, IDEAL_INSTRUMENT)

    weights = np.array([[0.5, 0.2, 0.2, 0.1]])
    np.testing.assert_allclose(read(weights @ amounts), weights @ read(amounts), rtol=1e-9)
    np.testing.assert_allclose(read(amounts / 2), read(amounts) / 2, rtol=1e-9)


def test_simulated_rows_follow_their_concentrations():
    made = ideal()
    pure = np.array([coefficient(compound, GRID) for compound in COMPOUNDS])
    np.testing.assert_allclose(made.x, IDEAL_SAMPLING.path * made.concentrations @ pure, rtol=1e-5)


@pytest.mark.parametrize("band", [Band(1500, 40, 0, 1), Band(1500, 0, 40, 1)])
def test_pure_shapes_have_peak_one_and_half_of_it_at_half_the_width(band):
    np.testing.assert_allclose(voigt(band, np.array([1480.0, 1500.0, 1520.0])), [0.5, 1, 0.5], atol=1e-4)


@pytest.mark.parametrize("width", [20, 40, 80])
def test_voigt_is_the_convolution_of_a_gaussian_with_a_lorentzian(width):
    x = np.arange(-2000.0, 2001.0)
    gaussian = np.exp(-0.5 * (x * FWHM_PER_SIGMA / 40) ** 2)
    lorentzian = 1 / (1 + (2 * x / width) ** 2)
    exact = np.convolve(gaussian, lorentzian, "same")
    np.testing.assert_allclose(voigt(Band(0, 40, width, 1), x), exact / exact.max(), atol=0.0112)


def test_scatter_is_a_gain_and_an_offset_for_each_row():
    clean = ideal(n=200).x.astype(float)
    sampling = replace(IDEAL_SAMPLING, gain_spread=0.1, offset_spread=0.05)
    made = simulate(200, 0, sampling=sampling, instrument=IDEAL_INSTRUMENT).x
    gain, offset = np.array([np.polyfit(a, b, 1) for a, b in zip(clean, made, strict=True)]).T
    np.testing.assert_allclose(gain[:, None] * clean + offset[:, None], made, atol=1e-5)
    assert np.log(gain).std() == pytest.approx(0.1, rel=0.15)
    assert offset.std() == pytest.approx(0.05, rel=0.15)


def test_baseline_is_a_polynomial_of_its_degree():
    drifting = replace(IDEAL_INSTRUMENT, baseline_spread=0.05, baseline_degree=2)
    drift = simulate(6, 0, sampling=IDEAL_SAMPLING, instrument=drifting).x - ideal(n=6).x
    scaled = np.linspace(-1, 1, len(GRID))
    fitted = np.array([np.polyval(np.polyfit(scaled, row, 2), scaled) for row in drift.astype(float)])
    np.testing.assert_allclose(drift, fitted, atol=1e-5)
    assert np.abs(drift).max() > 0.02


def test_shift_moves_the_wavelengths_by_its_spread():
    shifted = replace(IDEAL_INSTRUMENT, shift_spread=0.5)
    moved = simulate(200, 0, sampling=IDEAL_SAMPLING, instrument=shifted).x - ideal(n=200).x
    slope = np.gradient(ideal(n=200).x.astype(float), GRID, axis=1)
    shift = (moved * slope).sum(axis=1) / (slope**2).sum(axis=1)  # nm, to first order
    assert shift.std() == pytest.approx(0.5, rel=0.15)
    assert np.abs(moved - shift[:, None] * slope).max() < 0.2 * np.abs(moved).max()


def test_slit_spreads_a_line_to_its_width_and_keeps_the_light():
    instrument = Instrument(points=1401, slit=20.0)  # 1 nm apart
    line = np.zeros((1, 1401))
    line[0, 700] = 1.0
    seen = blur(line, instrument)[0]
    assert seen.sum() == pytest.approx(1)
    np.testing.assert_allclose(seen[[690, 710]] / seen[700], 0.5, rtol=1e-6)


def test_slit_leaves_even_light_alone_up_to_the_ends():
    even = np.full((1, 200), 0.3)
    np.testing.assert_allclose(blur(even, Instrument(slit=30.0)), even)


def test_a_wider_slit_flattens_the_peaks():
    def peak(slit):
        instrument = replace(IDEAL_INSTRUMENT, slit=slit)
        return simulate(6, 0, sampling=IDEAL_SAMPLING, instrument=instrument).x.max()

    assert peak(0) > peak(20) > peak(60)


def test_noise_is_of_the_light():
    noisy = replace(IDEAL_INSTRUMENT, noise=1e-3)
    light = 10.0 ** -simulate(300, 0, sampling=IDEAL_SAMPLING, instrument=noisy).x
    clean = 10.0 ** -ideal(n=300).x
    assert (light - clean).std() == pytest.approx(1e-3, rel=0.02)


def test_no_light_reads_as_a_finite_absorbance():
    amounts = np.full((1, len(COMPOUNDS)), 1e6)
    assert np.isfinite(measure(amounts, np.random.default_rng(0), IDEAL_SAMPLING, Instrument())).all()


def test_equal_seeds_give_equal_spectra_and_others_do_not():
    a, b, c = simulate(12, 7), simulate(12, 7), simulate(12, 8)
    assert a.x.tobytes() == b.x.tobytes()
    assert not np.array_equal(a.x, c.x)


def test_switching_effects_off_leaves_the_samples_as_they_were():
    clean, disturbed = ideal(seed=5), simulate(12, 5)
    np.testing.assert_array_equal(clean.concentrations, disturbed.concentrations)
    assert clean.labels == disturbed.labels


def test_shapes_types_units_and_turns():
    x, grid, labels, concentrations = simulate(14, 0)
    assert (x.shape, x.dtype) == ((14, 200), np.float32)
    assert (grid[0], grid[-1], grid.dtype) == (1100.0, 2500.0, np.float64)
    assert labels == tuple(2 * [food.name for food in FOODS] + ["milk", "yoghurt"])
    assert (concentrations >= 0).all()
    np.testing.assert_allclose(concentrations.sum(axis=1), 1000.0)  # kg/m³, the density


@pytest.mark.parametrize("material", [*FOODS, WORT], ids=lambda material: material.name)
def test_recipes_are_whole_and_made_of_known_compounds(material):
    assert sum(material.recipe.values()) == pytest.approx(1)
    assert set(material.recipe) <= set(COMPOUNDS)
