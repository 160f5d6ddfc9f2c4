"""Regression from few examples: functions, tables and spectra, and what a simulation is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from models.manifest import SignalGrid
from models.shelf import SHIPPED
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import spread
from tests.signal_jobs import SignalJobs, write_raw
from training.pretrain.materials import COMPOUNDS, WORT
from training.pretrain.signal.evaluate import cross_validated_pls, fat_error, pls
from training.pretrain.spectra import IDEAL_INSTRUMENT, IDEAL_SAMPLING, Instrument, Sampling, simulate

Array = NDArray[np.float64]
_SINES = {5: 0.06, 10: 0.025, 20: 0.013}
_DIABETES = {20: 0.28, 50: 0.41, 100: 0.45}
_COVERED = 0.86
_TECATOR = "spectra/tecator.csv"
_ETHANOL = [compound.name for compound in COMPOUNDS].index("ethanol")
_MEASURED = Instrument(start=1112, stop=2512, slit=40, shift_spread=0, baseline_spread=0.002, noise=4e-4)
_CELL = Sampling(path=0.46e-3, path_spread=0.01, gain_spread=0.01, offset_spread=0.004)


@benchmark("Regression from few examples")
def regression(setup: Setup) -> Iterator[Row]:
    """Whole jobs, in this process. Sinusoids of amplitude 0.1 to 5 and phase 0 to pi, on -5 to 5: k noisy
    points of one, and 200 noisy source curves; mean squared error against the noiseless curve. Diabetes
    (scikit-learn): n patients as signals of 10 values, `auto`, tested on all others. Tecator: 20 spectra,
    10 draws, against partial least squares on the same 20. Wort: ethanol by a near-infrared simulator
    without scatter, noise or slit, tested on a simulated instrument that has them all, its axis moved by
    12 nm, its slit 40 nm wide, its cell 15 % thicker.
    """
    with TemporaryDirectory() as folder:
        root = Path(folder)
        raw = write_raw(root)
        yield from _sines(setup, _jobs(root / "sines", [raw]))
        yield from _diabetes(setup, _jobs(root / "diabetes", [raw]))
        yield from _wort(setup, _jobs(root / "wort", [raw]))
        if setup.data is not None and (setup.data / _TECATOR).is_file():
            both = [SHIPPED / "signal" / "durian-small", raw]
            yield from _tecator(_jobs(root / "tecator", both), setup.data / "spectra")


def _jobs(root: Path, folders: Sequence[Path]) -> SignalJobs:
    root.mkdir()
    return SignalJobs(root, folders)


def _numbers(values: Array) -> list[float]:
    return [float(value) for value in values]


def _sines(setup: Setup, jobs: SignalJobs) -> Iterator[Row]:
    for noise in (0.3, 0.0):
        rng = np.random.default_rng(7)
        for shots, asked in _SINES.items():
            errors = [_sine_error(jobs, shots, noise, rng) for _ in range(setup.amount(200, 5))]
            limit = asked if noise else 1e-4
            what = f"sinusoid, noise {noise:g}, {shots} points, learned basis, MSE"
            value = float(np.mean(errors))
            digits = 3 if noise else 6
            how = f"mean of {len(errors)} functions; median {np.median(errors):.{digits}f}"
            yield Row(what=what, value=value, digits=digits, at_most=limit, how=how)


def _sine_error(jobs: SignalJobs, shots: int, noise: float, rng: np.random.Generator) -> float:
    x, new = rng.uniform(-5, 5, (shots, 1)), np.linspace(-5, 5, 101)[:, None]
    amount, phase = rng.uniform(0.1, 5), rng.uniform(0, np.pi)
    y = amount * np.sin(x[:, 0] + phase) + noise * rng.standard_normal(shots)
    training = jobs.store("regression", x, _numbers(y))
    given = {"source_file": "curves"}
    extras = {"curves": _source_curves(jobs, noise)}
    found = jobs.run(
        "regression", training, method="basis_regression", hyperparameters=given, extra_packs=extras
    )
    return float(((found.answers(new)[:, 0] - amount * np.sin(new[:, 0] + phase)) ** 2).mean())


def _source_curves(jobs: SignalJobs, noise: float) -> str:
    rng = np.random.default_rng(1)
    grid = SignalGrid(length=201, lo=-5, hi=5)
    amount, phase = rng.uniform(0.1, 5, (200, 1)), rng.uniform(0, np.pi, (200, 1))
    curves = amount * np.sin(np.linspace(grid.lo, grid.hi, grid.length) + phase)
    curves += noise * rng.standard_normal(curves.shape)
    return jobs.store("regression", curves, [None] * len(curves), grid)


def _diabetes(setup: Setup, jobs: SignalJobs) -> Iterator[Row]:
    from sklearn.datasets import load_diabetes  # slow to import, and only this needs it

    x, y = load_diabetes(return_X_y=True)
    for shots, asked in _DIABETES.items():
        draws = [_patients(jobs, x, y, shots, seed) for seed in range(setup.amount(40, 2))]
        fits, covered = zip(*draws, strict=True)
        how = f"mean of the draws; {spread(fits, 2)}"
        yield Row(
            what=f"diabetes, {shots} patients, auto, R²",
            value=float(np.mean(fits)),
            digits=2,
            at_least=asked,
            how=how,
        )
        least = _COVERED if shots >= 50 else None
        what = f"diabetes, {shots} patients, values inside the 95 % interval"
        yield Row(what=what, value=100 * float(np.mean(covered)), unit="%", at_least=least and 100 * least)


def _patients(jobs: SignalJobs, x: Array, y: Array, shots: int, seed: int) -> tuple[float, float]:
    """R² and the share of values inside the interval, on all that were not drawn."""
    rows = np.random.default_rng(seed).permutation(len(y))
    known, new = rows[:shots], rows[shots:]
    found = jobs.run("regression", jobs.store("regression", x[known], _numbers(y[known])), seed=seed)
    missed = found.answers(x[new])[:, 0] - y[new]
    fit = 1 - float((missed**2).mean()) / float(y[new].var())
    return fit, float((abs(missed) <= (found.manifest.interval or 0.0)).mean())


def _tecator(jobs: SignalJobs, data: Path) -> Iterator[Row]:
    def auto(x: Array, y: Array, new: Array) -> Array:
        return np.asarray(jobs.run("regression", jobs.store("regression", x, _numbers(y))).answers(new)[:, 0])

    few = fat_error(partial(pls, components=10), data)
    how = f"PLS with components by cross-validation {fat_error(cross_validated_pls, data):.2f}"
    what = "Tecator fat, 20 spectra, auto, RMSEP"
    yield Row(what=what, value=fat_error(auto, data), unit="% fat", digits=2, at_most=few, how=how)


def _wort(setup: Setup, jobs: SignalJobs) -> Iterator[Row]:
    ideal = simulate(300, 11, materials=[WORT], sampling=IDEAL_SAMPLING, instrument=IDEAL_INSTRUMENT)
    simulated = jobs.store("regression", ideal.x, _numbers(ideal.concentrations[:, _ETHANOL]))
    draws = range(setup.amount(5))
    plain = [_ethanol_error(jobs, simulated, 1, seed, correction="simulated") for seed in draws]
    before = float(np.mean(plain))
    yield _wort_row("the simulation as it is", plain, None)
    for shots in (1, 2, 5):
        errors = [_ethanol_error(jobs, simulated, shots, seed) for seed in draws]
        yield _wort_row(f"calibrated by {shots} real", errors, before / 3)
    errors = [_ethanol_error(jobs, simulated, 5, seed, method="candidates") for seed in draws]
    yield _wort_row("40 candidates ranked by 5 real", errors, before)


def _wort_row(what: str, errors: list[float], limit: float | None) -> Row:
    value = float(np.mean(errors))
    what = f"ethanol in wort, {what}, RMSE"
    return Row(what=what, value=value, unit="kg/m³", digits=2, at_most=limit, how=spread(errors, 2))


def _ethanol_error(
    jobs: SignalJobs, simulated: str, shots: int, seed: int, method: str = "sim_to_real", **given: str
) -> float:
    made = simulate(200 + shots, 100 + seed, materials=[WORT], sampling=_CELL, instrument=_MEASURED)
    y = made.concentrations[:, _ETHANOL]
    real = jobs.store("regression", made.x[:shots], _numbers(y[:shots]))
    found = jobs.run(
        "regression", simulated, unlabelled_pack=real, method=method, hyperparameters=given, seed=seed
    )
    return float(np.sqrt(((found.answers(made.x[shots:])[:, 0] - y[shots:]) ** 2).mean()))
