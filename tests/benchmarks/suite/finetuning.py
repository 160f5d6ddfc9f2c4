"""Training below the top beside what `auto` makes of the same examples on fixed features (its rule 8)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from models.fitspec import BackboneChoice, FitSpec
from models.shelf import SHIPPED, Shelf
from tests.benchmarks.examples import Examples, clinc150, stored
from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.embedded import BUILT
from training.fit import run

_TREC, _CIFAR, _DIGITS = "text/trec6.parquet", "image/cifar10_subset.parquet", "audio/fsdd"
_UCR = "spectra/ucr_{}.npz"
_CHEAP: Mapping[str, Any] = {"time_budget_s": 0.1}  # nothing below the top
_TESTED = 1000
Trained = Mapping[str, float]
"""Methods and the seconds that each may train for; none for those on fixed features."""


@dataclass(frozen=True, eq=False)
class Case:
    """Examples to draw from and others to test on, as one backbone takes them."""

    name: str
    backbone: str
    pool: Examples
    test: Examples

    @cached_property
    def choice(self) -> tuple[BackboneChoice, BackboneChoice]:
        """With every tap, and with the default one."""
        card, folder = Shelf([SHIPPED, BUILT]).get(self.backbone)
        whole = BackboneChoice(id=card.id, digest=card.digest, folder=str(folder), taps=card.trial_taps())
        return whole, whole.model_copy(update={"taps": (card.default_tap,)})

    def accuracy(self, root: Path, shots: int, method: str, given: Mapping[str, Any]) -> tuple[float, str]:
        """In per cent, on the test part, of a job on up to `shots` examples a class; and what it chose."""
        training = stored(root, self.pool.take(_up_to(self.pool, shots)))
        spec = FitSpec(
            job_id="ftjob-bench",
            task="classification",
            modality=self.pool.modality,
            training_pack=str(training),
            training_digest=training.name,
            validation_pack=str(stored(root, self.test)),
            backbones=(self.choice[method != "auto"],),
            method=method,
            hyperparameters=dict(given),
            features=str(root / "features.db"),
            output=str(root / f"{method}-{shots}-{time.monotonic_ns()}"),
        )
        report = run(spec, lambda event: None).report
        if report.validation is None:
            raise ValueError("the job had a validation file")
        return 100 * report.validation.metrics["accuracy"], f"{report.method} at {report.tap}"


@benchmark("Fine-tuning beside the best on fixed features", needs_data=True)
def finetune(setup: Setup) -> Iterator[Row]:
    """Up to k examples a class, one draw; accuracy on up to 1,000 others, that no job has seen, less that of
    `auto` with no time to train (a cheap head at the tap that it chooses). Seconds are for the two trainings
    of the cross-validation and the model's; a busy machine gives them fewer steps. CIFAR-10 on
    `image/durian-small`, spoken digits on `audio/durian-small`, ItalyPowerDemand and GunPoint on
    `signal/durian-small`, TREC-6 and CLINC150 on `text/minilm-l6`; settings are the methods' defaults.
    """
    if find_spec("torch") is None:
        raise Skipped("torch is not here: `make setup-torch`.")
    with TemporaryDirectory() as folder:
        for case, plan in _plans(setup):
            for shots, methods in dict(list(plan.items())[: setup.amount(len(plan))]).items():
                yield from _rows(case, Path(folder), setup, shots, methods)


def _plans(setup: Setup) -> Iterator[tuple[Case, Mapping[int, Trained]]]:
    """Each set with k and what is trained; what takes longest comes last."""
    both = {"finetune": 15.0, "lora": 15.0, "mlp_head": 0.0}
    yield _signals(setup, "GunPoint", 50), {50: both}
    yield _signals(setup, "ItalyPowerDemand", 100), {100: both}
    yield _sounds(setup), {20: {"finetune": 20.0, "lora": 20.0, "mlp_head": 0.0}, 40: {"finetune": 20.0}}
    yield _images(setup), {20: {**both, "finetune": 20.0}, 100: {"finetune": 45.0}, 400: {"finetune": 60.0}}
    few: Trained = {"finetune": 30.0, "mlp_head": 0.0}
    yield _questions(setup), {20: few, 100: {"finetune": 60.0, "lora": 60.0}, 500: {"finetune": 120.0}}
    yield _intents(setup), {10: {"finetune": 75.0}}


def _rows(case: Case, root: Path, setup: Setup, shots: int, methods: Trained) -> Iterator[Row]:
    cheap, chosen = case.accuracy(root, shots, "auto", _CHEAP)
    for method, seconds in methods.items():
        given = {"time_budget_s": setup.amount(int(seconds), 3), "folds": 2} if seconds else {}
        found, _ = case.accuracy(root, shots, method, given)
        within = f" in {seconds:.0f} s" if seconds else ""
        yield Row(
            what=f"{case.name}, {shots} a class: `{method}`{within}",
            value=found - cheap,
            unit="points",
            how=f"{found:.1f} %; auto {cheap:.1f} % by {chosen}",
        )


def _up_to(pool: Examples, shots: int) -> list[int]:
    """Rows of so many examples a class, or of all that there are."""
    rng, labels = np.random.default_rng(0), np.array(pool.labels)
    return [int(i) for c in np.unique(labels) for i in rng.permutation(np.flatnonzero(labels == c))[:shots]]


def _held_out(name: str, backbone: str, whole: Examples, shots: int) -> Case:
    pool = _up_to(whole, shots)
    rest = sorted(set(range(len(whole))) - set(pool))
    return Case(name, backbone, whole.take(pool), whole.take(rest[:_TESTED]))


def _signals(setup: Setup, name: str, shots: int) -> Case:
    with np.load(setup.file(_UCR.format(name)), allow_pickle=False) as npz:
        x = np.concatenate([npz["x_train"], npz["x_test"]]).tolist()
        y = np.concatenate([npz["y_train"], npz["y_test"]])
    return _held_out(name, "signal/durian-small", Examples("signal", x, [str(label) for label in y]), shots)


def _sounds(setup: Setup) -> Case:
    """The ten of each digit that are tested on are the same at every k."""
    files = sorted(setup.file(f"{_DIGITS}/0_jackson_0.wav").parent.glob("*.wav"))
    labels = [file.name.split("_")[0] for file in files]
    whole = Examples("audio", [file.read_bytes() for file in files], labels)
    return _held_out("spoken digits", "audio/durian-small", whole, 40)


def _images(setup: Setup) -> Case:
    rows = parquet.read_table(setup.file(_CIFAR)).to_pylist()
    pool, test = (_part(rows, part, "image") for part in ("train", "test"))
    return Case("CIFAR-10", "image/durian-small", pool, test)


def _questions(setup: Setup) -> Case:
    rows = parquet.read_table(setup.file(_TREC)).to_pylist()
    pool, test = (_part(rows, part, "text") for part in ("train", "test"))
    return Case("TREC-6", "text/minilm-l6", pool, test)


def _intents(setup: Setup) -> Case:
    pool, test = clinc150(setup)
    return Case("CLINC150", "text/minilm-l6", pool, test.take(range(0, len(test), 5)))


def _part(rows: Sequence[Mapping[str, Any]], part: str, modality: Any) -> Examples:
    kept = [row for row in rows if row["split"] == part]
    inputs = [row[modality] for row in kept]
    return Examples(modality, inputs, [row["label"] for row in kept])
