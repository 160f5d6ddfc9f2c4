"""Simulations as the instrument of a few real examples shows them, for all of them and for each fold."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.errors import JobFailed
from models.fitspec import BackboneChoice
from models.runtime import Backbone
from training.folds import Folds
from training.job import Job
from training.signals import few
from training.signals.augment import Strengths, augment, fitted_to
from training.signals.calibrate import Instrument, calibrate
from training.signals.raw import signals
from training.source import Source

Array = NDArray[np.float64]
_MOST_CALIBRATING = 8
_WOBBLE = 0.01  # drift and offset, in deviations of a signal: no instrument is found to better than that


@dataclass(frozen=True, eq=False)
class World:
    """Simulations [s, length] as an instrument shows them; their features by backbone digest and tap."""

    instrument: Instrument
    simulations: Array
    features: dict[str, dict[str, NDArray[np.float32]]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Study:
    """Everything that the trials share.

    `real` bool [n] marks the real rows, `source` numbers the simulated ones that are learnt from. `worlds`
    holds a world for each fold, made without the rows that it tests, and last one for all real rows.
    """

    job: Job
    real: NDArray[np.bool_]
    source: NDArray[np.int64]
    folds: Folds
    worlds: tuple[World, ...]
    trunks: dict[str, Backbone] = field(default_factory=dict)

    @classmethod
    def of(cls, job: Job) -> Study:
        real, seed = few.real_rows(job), job.spec.seed
        source, folds = few.source_rows(real, seed), few.real_folds(real, seed)
        x = signals(job.data.pack)
        targets = job.sources[0].raw.targets
        worlds = []
        for number in range(folds.count + 1):
            worlds.append(_world(x, targets, source, real & (folds.fold != number), seed))
            job.phases.progress((number + 1) / (folds.count + 2), "Calibrating the simulation.")
        return cls(job, real, source, folds, tuple(worlds))

    @property
    def shots(self) -> int:
        return int(self.real.sum())

    def simulated(self, view: Source, world: World) -> NDArray[np.float32]:
        """Features of the calibrated simulations at the view's tap: [s, dim]."""
        choice = view.backbone
        if choice.digest not in world.features:
            taps = [s.tap for s in few.views(self.job) if s.backbone.digest == choice.digest]
            contents = [row.astype("<f4").tobytes() for row in world.simulations]
            world.features[choice.digest] = self._trunk(choice).embed(contents, taps)
        return world.features[choice.digest][view.tap]

    def _trunk(self, choice: BackboneChoice) -> Backbone:
        if choice.digest not in self.trunks:
            trunk = Backbone(Path(choice.folder), threads=self.job.spec.threads)
            if trunk.card.digest != choice.digest:
                message = f"The backbone {choice.id} changed since the job was made."
                raise JobFailed(message, code="backbone_changed")
            self.trunks[choice.digest] = trunk
        return self.trunks[choice.digest]


def _world(
    x: Array,
    targets: Array,
    source: NDArray[np.int64],
    real: NDArray[np.bool_],
    seed: int,
) -> World:
    rows = np.flatnonzero(real)[:_MOST_CALIBRATING]
    instrument = calibrate(x[source], targets[source], x[rows], targets[rows])
    seen = instrument.apply(x[source])
    wobble = _WOBBLE * float(seen.std(axis=1).mean())
    strengths = fitted_to(Strengths(drift=wobble, offset=wobble), seen, x[real])
    return World(instrument, augment(seen, strengths, np.random.default_rng(seed)))
