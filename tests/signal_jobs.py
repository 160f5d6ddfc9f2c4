"""Jobs on signals as the service would run them, in this process: real baseline, real artefact."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from models.backbone import read_card, write_backbone
from models.base import Label, TaskName, sha256
from models.dataset import Pack
from models.fitspec import BackboneChoice, FitSpec
from models.manifest import HEAD, InputSpec, Manifest, SignalGrid
from models.report import Report
from models.runtime import Backbone, open_session
from training import fit
from training.backbones.baselines import raw


def write_raw(root: Path) -> Path:
    """The declared baseline `signal/raw` in a new folder under `root`."""
    made = raw()
    write_backbone(root / "raw", made.card, made.files)
    return root / "raw"


@dataclass
class SignalJobs:
    """Runs jobs in `root` over the backbones in `folders`; the baselines among them stay baselines."""

    root: Path
    folders: Sequence[Path]
    taps: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def choices(self) -> list[BackboneChoice]:
        found = []
        for folder in self.folders:
            card = read_card(folder)
            taps = tuple(tap.name for tap in card.taps) if card.baseline else (card.default_tap,)
            found.append(
                BackboneChoice(
                    id=card.id,
                    digest=card.digest,
                    folder=str(folder),
                    taps=self.taps.get(card.id, taps),
                    baseline=card.baseline,
                )
            )
        return found

    def store(self, task: TaskName, x: Any, labels: Sequence[Label], grid: SignalGrid | None = None) -> str:
        """A pack of signals `x` [n, length]; its path."""
        x = np.asarray(x, "<f4")
        grid = grid or SignalGrid(length=x.shape[1], lo=0, hi=x.shape[1] - 1)
        contents = tuple(row.tobytes() for row in x)
        data = Pack(task, InputSpec(modality="signal", grid=grid), contents, tuple(labels)).to_bytes()
        path = self.root / sha256(data)
        path.write_bytes(data)
        return str(path)

    def run(self, task: TaskName, training: str, **more: Any) -> Fitted:
        output = self.root / f"output-{len(list(self.root.iterdir()))}"
        fields: dict[str, Any] = {
            "job_id": "ftjob-1",
            "task": task,
            "modality": "signal",
            "training_pack": training,
            "training_digest": Path(training).name,
            "backbones": tuple(self.choices()),
            "features": str(self.root / "features.db"),
            "output": str(output),
            **more,
        }
        outcome = fit.run(FitSpec(**fields), lambda event: None)
        (folder,) = (f for f in self.folders if read_card(f).id == outcome.manifest.backbone.id)
        return Fitted(outcome.manifest, outcome.report, folder, output)


@dataclass
class Fitted:
    """What a job left, answering as the service would."""

    manifest: Manifest
    report: Report
    backbone: Path
    output: Path

    def answers(self, x: Any) -> np.ndarray:
        """Scores or values [n, C] of signals [n, length]."""
        contents = [row.tobytes() for row in np.asarray(x, "<f4")]
        features = Backbone(self.backbone).embed(contents, [self.manifest.tap])[self.manifest.tap]
        head = open_session((self.output / HEAD).read_bytes())
        return np.asarray(head.run(None, {"features": features})[0])
