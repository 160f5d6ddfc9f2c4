"""What a backbone of signals is worth on data it was not made from: four tasks, ten draws each.

`evaluate(extract, data_folder)`, with `extract` from signals [n, any length] to features [n, dim].
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.frame import Frame
from training.methods import METHODS, Problem
from training.pretrain.signal.absorption import medium, scatterers
from training.pretrain.signal.exafs import Medium, Paths, Scatterer, chi
from training.pretrain.signal.made import POINTS, Array, standardised

Matrix = NDArray[Any]
Extract = Callable[[Matrix], Matrix]
DRAWS = 10
SHOTS = 5
FEW = 20
MANY = 300


def evaluate(extract: Extract, data_folder: Path) -> dict[str, float]:
    """Accuracy (UCR, five shots a class), RMSEP (Tecator fat) and R² (sigma²), means of ten draws.

    `data_folder` holds `ucr_GunPoint.npz`, `ucr_ItalyPowerDemand.npz` (`x_train`, `y_train`, `x_test`,
    `y_test`) and `tecator.csv` (a header; sample, split, 100 channels, moisture, fat, protein).
    """
    found = {}
    for name in ("GunPoint", "ItalyPowerDemand"):
        found[name] = few_shot(extract, data_folder / f"ucr_{name}.npz")
    found[f"tecator_{FEW}"] = fat_error(lambda x, y, new: ridge(extract(x), y, extract(new)), data_folder)
    for examples in (FEW, MANY):
        found[f"sigma2_{examples}"] = disorder_r2(extract, examples)
    return found


def few_shot(extract: Extract, file: Path) -> float:
    """Mean accuracy of logistic regression on SHOTS examples a class of the training part."""
    with np.load(file) as data:
        y, y_test = data["y_train"], data["y_test"]
        features, test = extract(data["x_train"]), extract(data["x_test"])
    labels, classes = np.unique(y, return_inverse=True)
    right = []
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.permutation(np.flatnonzero(y == label))[:SHOTS] for label in labels])
        frame = Frame.of(features[rows])
        problem = Problem(frame.enter(features[rows]), classes[rows], "classification", tuple(labels))
        head = METHODS["logistic"].fit(problem, [{"C": 10.0}])[0].head
        right.append(float((labels[head.logits(frame.enter(test)).argmax(axis=1)] == y_test).mean()))
    return float(np.mean(right))


def fat_error(predict: Callable[[Matrix, Matrix, Matrix], Matrix], data_folder: Path) -> float:
    """Mean RMSEP of fat, percent by mass, on the test part after FEW examples of the parts before it.

    `predict(x, y, new)` fits on `x` [FEW, 100] and `y` [FEW], and answers for `new` [n, 100].
    """
    table = np.genfromtxt(data_folder / "tecator.csv", delimiter=",", skip_header=1, dtype=str)
    split, x, fat = table[:, 1], table[:, 2:102].astype(float), table[:, 103].astype(float)
    pool, test = np.flatnonzero(np.isin(split, ["train", "validation"])), split == "test"
    errors = []
    for seed in range(DRAWS):
        rows = np.random.default_rng(seed).permutation(pool)[:FEW]
        errors.append(np.sqrt(np.mean((predict(x[rows], fat[rows], x[test]) - fat[test]) ** 2)))
    return float(np.mean(errors))


def disorder_r2(extract: Extract, examples: int) -> float:
    """Mean R² of sigma² of ten unseen elements, one data set each, from `examples` spectra a set."""
    scores = []
    for seed in range(DRAWS):
        x, y = disorder_set(examples + MANY, seed)
        got = ridge(extract(x[:examples]), y[:examples], extract(x[examples:]))
        scores.append(1 - ((got - y[examples:]) ** 2).mean() / y[examples:].var())
    return float(np.mean(scores))


def disorder_set(n: int, seed: int, noise: float = 0.01) -> tuple[Array, Array]:
    """k² chi(k), 3 to 14 Å⁻¹, of elements held out; and sigma² in Å² of the first shell.

    From spectrum to spectrum vary N (4 to 8), R (by 0.1 Å), sigma² (0.002 to 0.02), the edge (by 3 eV) and a
    second shell; `noise` is relative to the greatest value of each spectrum.
    """
    rng = np.random.default_rng([seed, 77])
    one, around = scatterers(1, 2, rng, held_out=True), medium(1, rng)
    scatterer = Scatterer(**{name: np.repeat(value, n, axis=0) for name, value in vars(one).items()})
    middle = Medium(np.repeat(around.gamma, n), np.repeat(around.eta, n), rng.uniform(-3, 3, n))
    first = rng.uniform(1.95, 2.5) + rng.uniform(-0.1, 0.1, n)
    length = np.stack([first, first + rng.uniform(0.7, 1.3) + rng.uniform(-0.1, 0.1, n)], axis=1)
    disorder = np.stack([rng.uniform(0.002, 0.02, n), rng.uniform(0.004, 0.02, n)], axis=1)
    number = np.stack([rng.uniform(4, 8, n), rng.uniform(2, 8, n)], axis=1)
    k = np.tile(np.linspace(3, 14, POINTS), (n, 1))
    x = k**2 * chi(k, Paths(number, length, disorder), scatterer, middle)
    x += noise * np.abs(x).max(axis=1, keepdims=True) * rng.standard_normal(x.shape)
    return x, disorder[:, 0]


def ridge(features: Matrix, y: Matrix, new: Matrix) -> Matrix:
    """Ridge by leave-one-out on `features` [n, D] for `y` [n]; its answers for `new` [m, D]: [m]."""
    frame = Frame.of(features)
    problem = Problem(frame.enter(features), np.asarray(y, np.float64)[:, None], "regression", ("y",))
    scale = float(np.std(y)) or 1.0
    problem = Problem(problem.X, problem.y / scale, problem.task, problem.labels)
    head = METHODS["ridge"].fit(problem, [{"penalty": "auto"}])[0].head
    return np.asarray(head.logits(frame.enter(new))[:, 0] * scale)


def baselines(data_folder: Path) -> dict[str, float]:
    """The same figures of what is to be beaten: linear heads on the raw signal, and PLS on SNV spectra.

    Needs scikit-learn. PLS has ten components, or as many (1 to 10) as cross-validation on the examples says.
    """
    found = evaluate(np.asarray, data_folder)
    found["tecator_pls_10"] = fat_error(partial(pls, components=10), data_folder)
    found["tecator_pls_cv"] = fat_error(cross_validated_pls, data_folder)
    found["tecator_pls_snv_cv"] = fat_error(
        lambda x, y, new: cross_validated_pls(standardised(x), y, standardised(new)), data_folder
    )
    return found


def pls(x: Matrix, y: Matrix, new: Matrix, components: int) -> Matrix:
    """Partial least squares on spectra `x` [n, points] for `y` [n]; its answers for `new` [m, points]."""
    from sklearn.cross_decomposition import PLSRegression

    return np.asarray(PLSRegression(components, scale=False).fit(x, y).predict(new)).ravel()


def cross_validated_pls(x: Matrix, y: Matrix, new: Matrix) -> Matrix:
    """`pls` with the number of components of least ten-fold error on `x` and `y`."""
    folds = np.arange(len(x)) % 10

    def error(components: int) -> float:
        held_out = [pls(x[folds != f], y[folds != f], x[folds == f], components) for f in range(10)]
        return float(sum(((got - y[folds == f]) ** 2).sum() for f, got in enumerate(held_out)))

    return pls(x, y, new, min(range(1, 11), key=error))


def resampled(signals: Matrix) -> NDArray[np.float32]:
    """Signals [n, any length] on the backbone's grid [n, POINTS], as serving does it."""
    at = np.linspace(0, signals.shape[1] - 1, POINTS)
    return np.stack([np.interp(at, np.arange(signals.shape[1]), row) for row in signals]).astype(np.float32)
