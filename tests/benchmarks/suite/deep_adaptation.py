"""Deep domain adaptation: digits as scanned to digits laid over photographs, a chain of two jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

from models.fitspec import FitSpec
from tests.benchmarks.domains import SIDE, digits_on_photos
from tests.benchmarks.examples import Examples, stored
from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import spread
from tests.benchmarks.untrained import write_untrained
from training.fit import run

_ALL: Mapping[str, Any] = {
    "blocks": "all",
    "learning_rate": 1e-3,
    "layer_decay": 1.0,
    "folds": 2,
    "time_budget_s": 3600.0,  # no training is cut short
}
_FIRST, _SECOND = 400, 300  # steps of the stages
_ALONE = ("dann", "cdan", "deep_coral", "mmd")
_DRAWS = 3


@dataclass(frozen=True)
class Stage:
    """A finished job: its artefact's folder, and per cent right on the target's test part."""

    output: Path
    accuracy: float


@dataclass(frozen=True, eq=False)
class Draw:
    """One split of the digits into source, unlabelled target and test, and jobs over a fresh network.

    `first` and `then` are the steps of a chain's stages.
    """

    root: Path
    seed: int
    first: int
    then: int

    @cached_property
    def parts(self) -> tuple[Examples, Examples, Examples]:
        return digits_on_photos(self.seed)

    def job(self, method: str, steps: int, *, parent: Stage | None = None, **given: Any) -> Stage:
        """Of the source, towards the target where the method adapts."""
        source, target, _ = self.parts
        towards = None if method == "finetune" else str(stored(self.root, target, labelled=False))
        begin = None if parent is None else str(parent.output)
        return self._run(source, method, {"steps": steps, **given}, unlabelled_pack=towards, parent=begin)

    def oracle(self) -> Stage:
        """What the same network learns from the target's labels, which no other job sees."""
        return self._run(self.parts[1], "finetune", {"steps": self.first})

    def chain(self) -> dict[str, Stage]:
        """Randomised training, and two ways to go on from it."""
        first = self.job("finetune", self.first, augment="randomise")
        return {
            "randomise": first,
            "randomise, then dann": self.job("dann", self.then, parent=first, augment="randomise"),
            "randomise, then as long once more": self.job(
                "finetune", self.then, parent=first, augment="randomise"
            ),
        }

    def _run(self, examples: Examples, method: str, given: Mapping[str, Any], **more: Any) -> Stage:
        training, output = stored(self.root, examples), self.root / f"output-{time.monotonic_ns()}"
        spec = FitSpec(
            job_id="ftjob-bench",
            task="classification",
            modality="image",
            training_pack=str(training),
            training_digest=training.name,
            validation_pack=str(stored(self.root, self.parts[2])),
            backbones=(write_untrained(self.root / f"network-{self.seed}", SIDE, self.seed),),
            method=method,
            hyperparameters={**_ALL, **given},
            seed=self.seed,
            features=str(self.root / "features.db"),
            output=str(output),
            **more,
        )
        validation = run(spec, lambda event: None).report.validation
        if validation is None:
            raise ValueError("the job had a validation file")
        return Stage(output, 100 * validation.metrics["accuracy"])


@benchmark("Deep domain adaptation: digits on photographs")
def deep_adaptation(setup: Setup) -> Iterator[Row]:
    """UCI digits of 20 x 20 pixels, white on black, to |part of a photograph - digit|: 900 labelled of the
    source, 500 unlabelled of the target, 397 others of the target to test on. Whole jobs, with `blocks` all,
    over a small convolutional network with random weights, so that nothing is known beforehand; chains go
    through `parent`. `randomise` is a `finetune` job with `augment` randomise, whose textures are noise and
    not photographs. Means of 3 draws, of one where methods adapt without it.
    """
    if find_spec("torch") is None:
        raise Skipped("torch is not here: `make setup-torch`.")
    with TemporaryDirectory() as folder:
        draws = [
            Draw(Path(folder), seed, setup.amount(_FIRST), setup.amount(_SECOND))
            for seed in range(setup.amount(_DRAWS))
        ]
        yield _row("source only", [draw.job("finetune", draw.first) for draw in draws])
        yield from _chains([draw.chain() for draw in draws])
        yield _row("labels of the target (oracle)", [draw.oracle() for draw in draws])
        for method in _ALONE[: setup.amount(len(_ALONE))]:
            yield _row(f"{method} alone", [draws[0].job(method, draws[0].then)])


def _chains(found: list[dict[str, Stage]]) -> Iterator[Row]:
    first, then = ([chain[name] for chain in found] for name in ("randomise", "randomise, then dann"))
    yield _row("randomise", first, 77.0)
    yield _row("randomise, then dann", then, 81.0)
    gains = [b.accuracy - a.accuracy for a, b in zip(first, then, strict=True)]
    yield Row(what="what dann adds to randomise", value=mean(gains), unit="points", at_least=1.5)
    again = "randomise, then as long once more"
    yield _row(f"{again}, without the target", [chain[again] for chain in found])


def _row(what: str, stages: list[Stage], at_least: float | None = None) -> Row:
    values = [stage.accuracy for stage in stages]
    return Row(what=what, value=mean(values), unit="%", at_least=at_least, how=spread(values))
