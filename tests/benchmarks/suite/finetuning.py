"""Training below the top, beside the linear probe on the same examples: what is new to the model tells."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as parquet

from models.fitspec import BackboneChoice, FitSpec
from models.shelf import SHIPPED, Shelf
from tests.benchmarks.examples import Examples, digits, stored
from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import spread
from tests.embedded import BUILT
from training.fit import run

_TREC = "text/trec6.parquet"
_BUDGET = 30.0  # seconds a job: the default
_TESTED = 600
Methods = Mapping[str, tuple[str, Mapping[str, Any]]]
_LONG = {"time_budget_s": _BUDGET}
_IMAGES: Methods = {
    "logistic": ("logistic", {}),
    "finetune": ("finetune", _LONG),
    "l2_sp": ("l2_sp", _LONG),
    "lora": ("lora", _LONG),
    "two blocks, light augmentation": (
        "finetune",
        {**_LONG, "blocks": 2, "learning_rate": 1e-3, "augment": "light"},
    ),
    "mlp_head": ("mlp_head", {}),
    "progressive": ("progressive", {}),
}
_TEXTS: Methods = {
    "logistic": ("logistic", {}),
    "finetune": ("finetune", _LONG),
    "lora": ("lora", _LONG),
    "two blocks": ("finetune", {**_LONG, "blocks": 2, "learning_rate": 3e-4}),
}


@dataclass(frozen=True, eq=False)
class Case:
    """Examples to draw from and others to test on, as one backbone takes them."""

    name: str
    backbone: str
    pool: Examples
    test: Examples

    @cached_property
    def choice(self) -> BackboneChoice:
        card, folder = Shelf([SHIPPED, BUILT]).get(self.backbone)
        return BackboneChoice(id=card.id, digest=card.digest, folder=str(folder), taps=(card.default_tap,))

    def accuracy(self, root: Path, shots: int, seed: int, method: str, given: Mapping[str, Any]) -> float:
        """In per cent, on the test part, of a job on `shots` examples a class."""
        training = stored(root, self.pool.take(self.pool.draw(shots, seed)))
        spec = FitSpec(
            job_id="ftjob-bench",
            task="classification",
            modality=self.pool.modality,
            training_pack=str(training),
            training_digest=training.name,
            validation_pack=str(stored(root, self.test)),
            backbones=(self.choice,),
            method=method,
            hyperparameters=dict(given),
            seed=seed,
            features=str(root / "features.db"),
            output=str(root / f"{method}-{shots}-{seed}-{time.monotonic_ns()}"),
        )
        validation = run(spec, lambda event: None).report.validation
        if validation is None:
            raise ValueError("the job had a validation file")
        return 100 * validation.metrics["accuracy"]


@benchmark("Fine-tuning beside the linear probe")
def finetune(setup: Setup) -> Iterator[Row]:
    """k examples a class by `random.Random(seed)`; accuracy on others, that no job has seen. Digits are UCI's
    8 x 8 scans as pictures on `image/durian-small`, 600 are tested; questions are TREC-6 (Li and Roth 2002)
    on `text/minilm-l6`, all 500 of the test part. Settings are the methods' defaults where not said.
    """
    if find_spec("torch") is None:
        raise Skipped("torch is not here: `make setup-torch`.")
    with TemporaryDirectory() as folder:
        yield from _rows(_digits(), Path(folder), setup, {10: 2, 50: 1}, _IMAGES)
        if setup.data is not None:
            yield from _rows(_questions(setup), Path(folder), setup, {20: 2}, _TEXTS)


def _rows(case: Case, root: Path, setup: Setup, shots: Mapping[int, int], methods: Methods) -> Iterator[Row]:
    some = dict(list(methods.items())[: setup.amount(len(methods), 2)])
    for k, draws in dict(list(shots.items())[: setup.amount(len(shots))]).items():
        for name, (method, given) in some.items():
            found = [case.accuracy(root, k, seed, method, given) for seed in range(setup.amount(draws))]
            yield Row(
                what=f"{case.name}, {k} a class, {name}", value=mean(found), unit="%", how=spread(found)
            )


def _digits() -> Case:
    whole = digits()
    order = np.random.default_rng(0).permutation(len(whole)).tolist()
    return Case("digits", "image/durian-small", whole.take(order[_TESTED:]), whole.take(order[:_TESTED]))


def _questions(setup: Setup) -> Case:
    rows = parquet.read_table(setup.file(_TREC)).to_pylist()
    pool, test = (_part(rows, part) for part in ("train", "test"))
    return Case("TREC-6", "text/minilm-l6", pool, test)


def _part(rows: Sequence[Mapping[str, Any]], part: str) -> Examples:
    kept = [row for row in rows if row["split"] == part]
    return Examples("text", [row["text"] for row in kept], [row["label"] for row in kept])
