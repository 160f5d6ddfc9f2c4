"""A tiny job for every procedure there is: what its record asks for is given, nothing else is known of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from models.backbone import read_card
from models.base import Label, TaskName, sha256
from models.dataset import Pack
from models.fitspec import BackboneChoice, FitSpec
from models.manifest import HEAD, InputSpec, Manifest
from models.report import Report
from models.runtime import Backbone, open_session
from tests.deep_jobs import POINTS, write_blind
from tests.signal_jobs import write_raw
from training import fit
from training.backbones.vectors import add
from training.methods.base import PROCEDURES, MethodInfo

CLASSES = ("down", "level", "up")
SMALL: Mapping[str, Any] = {"steps": 2, "folds": 2, "width": 4, "adapter": 2, "members": 4, "copies": 2}
"""Hyperparameters that make a job short, where a procedure has them."""


@dataclass(frozen=True)
class Done:
    """What a job left, and what it was about."""

    manifest: Manifest
    report: Report
    output: Path
    folder: Path
    contents: tuple[bytes, ...]

    def answers(self) -> np.ndarray:
        """What the artefact answers to the examples, computed as the service does."""
        backbone, manifest = Backbone(self.folder), self.manifest
        session = open_session((self.output / HEAD).read_bytes())
        if manifest.head.kind != "tail":
            features = backbone.embed(self.contents, [manifest.tap])[manifest.tap]
            return np.asarray(session.run(None, {"features": features})[0])
        prepared = [backbone.preprocessor.prepare(content) for content in self.contents]
        return np.asarray(session.run(None, backbone.edges(prepared, manifest.tap))[0])


class ProcedureJobs:
    """Runs procedures in `root`, over backbones that lie there too."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.words = _write_words(root)
        self.folders = {"signal": (write_raw(root), write_blind(root)), "text": (self.words,)}

    def run(self, name: str, task: TaskName, output: str, seed: int = 0) -> Done:
        """A job of the procedure on the task, with everything that it needs."""
        info = PROCEDURES[name].info
        modality = "signal" if "signal" in info.modalities else info.modalities[0]
        choices = tuple(map(_choice, self.folders[modality]))
        pack = _examples(modality, task, 24, 0)
        spec = FitSpec(
            job_id="ftjob-1",
            task=task,
            modality=modality,
            training_pack=self._store(pack),
            training_digest=sha256(pack.to_bytes()),
            unlabelled_pack=self._target(info, modality, task),
            backbones=choices,
            method=name,
            hyperparameters=_hyperparameters(info),
            extra_packs={"file-other": self._store(_examples(modality, task, 18, 5))},
            text_backbone=_choice(self.words),
            seed=seed,
            features=str(self.root / "features.db"),
            output=str(self.root / output),
        )
        outcome = fit.run(spec, lambda event: None)
        (choice,) = (one for one in choices if one.digest == outcome.manifest.backbone.digest)
        return Done(outcome.manifest, outcome.report, self.root / output, Path(choice.folder), pack.contents)

    def _target(self, info: MethodInfo, modality: str, task: TaskName) -> str | None:
        """Examples of another domain, half of them with labels, where the procedure asks for some."""
        if {"unlabelled", "target_labels"}.isdisjoint(info.needs):
            return None
        pack = _examples(modality, task, 24, 3, shift=0.3)
        labels = tuple(label if i < 12 else None for i, label in enumerate(pack.labels))
        return self._store(replace(pack, labels=labels))

    def _store(self, pack: Pack) -> str:
        data = pack.to_bytes()
        path = self.root / sha256(data)
        path.write_bytes(data)
        return str(path)


def _write_words(root: Path) -> Path:
    """A text backbone: the mean of random vectors of a few words."""
    rng = np.random.default_rng(0)
    rows = (
        f"{word} {' '.join(map(str, rng.normal(size=4)))}\n" for word in (*CLASSES, "it", "went", "times")
    )
    (root / "words.txt").write_text("".join(rows))
    return root / add("words", weights=root / "words.txt", root=root, emit=lambda line: None).id


def _hyperparameters(info: MethodInfo) -> dict[str, Any]:
    fields = info.hyperparameters.model_fields
    given = {name: value for name, value in SMALL.items() if name in fields}
    if "attributes" in fields:
        rows = {"down": (0.0, 1.0), "level": (0.0, 0.0), "up": (1.0, 0.0), "both": (1.0, 1.0)}
        given["attributes"] = {
            name: dict(zip(("rises", "falls"), row, strict=True)) for name, row in rows.items()
        }
    if "tasks" in fields:
        given["tasks"] = {"other": "file-other"}
    return given


def _examples(modality: str, task: TaskName, n: int, seed: int, shift: float = 0.0) -> Pack:
    """Signals that go down, stay or go up, or texts that say so."""
    rng = np.random.default_rng(seed)
    slopes = np.arange(n) % len(CLASSES) - 1.0
    if modality == "text":
        contents = tuple(f"it went {CLASSES[int(s) + 1]} {rng.integers(9)} times".encode() for s in slopes)
        given = InputSpec(modality="text")
    else:
        x = slopes[:, None] * np.linspace(-1, 1, POINTS) + 0.2 * rng.normal(size=(n, POINTS)) + shift
        contents = tuple(row.tobytes() for row in x.astype("<f4"))
        grid = {"length": POINTS, "lo": 0.0, "hi": POINTS - 1.0}
        given = InputSpec.model_validate({"modality": "signal", "grid": grid})
    return Pack(task, given, contents, tuple(_label(task, slope, rng) for slope in slopes))


def _label(task: TaskName, slope: float, rng: np.random.Generator) -> Label:
    if task == "regression":
        return float(slope + 0.1 * rng.normal())
    name = CLASSES[int(slope) + 1]
    return name if task == "classification" else [name]


def _choice(folder: Path) -> BackboneChoice:
    card = read_card(folder)
    taps = tuple(tap.name for tap in card.taps) if card.baseline else (card.default_tap,)
    return BackboneChoice(
        id=card.id, digest=card.digest, folder=str(folder), taps=taps, baseline=card.baseline
    )
