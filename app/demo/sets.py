"""The project's example sets, each cut into a handful to learn from and the unseen rest."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.client import ClientError
from models.base import ModalityName

SHOTS = 5
SEED = 0


class NoExamples(ClientError):
    """The example sets are not there."""


@dataclass(frozen=True)
class ExampleSet:
    """`upload` holds `SHOTS` examples a class, as the file `filename`; `unseen` are (input, label)."""

    title: str
    modality: ModalityName
    classes: int
    filename: str
    upload: bytes
    unseen: Sequence[tuple[Any, str]]


def load(folder: Path) -> list[ExampleSet]:
    """The three sets. Raises NoExamples."""
    try:
        return [
            texts((folder / "texts.jsonl").read_bytes()),
            digits((folder / "digits.zip").read_bytes()),
            spectra((folder / "spectra.npz").read_bytes()),
        ]
    except OSError:
        raise NoExamples(
            "The example sets are not there: the demo runs from a checkout of the project."
        ) from None


def texts(content: bytes) -> ExampleSet:
    """Lines of `{"input", "label"}`."""
    lines = content.decode("utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return _cut(
        title="support messages by intent",
        modality="text",
        filename="intents.jsonl",
        inputs=[row["input"] for row in rows],
        labels=[row["label"] for row in rows],
        pack=lambda chosen: "\n".join(lines[i] for i in chosen).encode(),
    )


def digits(content: bytes) -> ExampleSet:
    """A zip of `label/file.png`."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    names = list(files)
    return _cut(
        title="scans of handwritten digits",
        modality="image",
        filename="digits.zip",
        inputs=list(files.values()),
        labels=[name.split("/")[0] for name in names],
        pack=lambda chosen: _zip({names[i]: files[names[i]] for i in chosen}),
    )


def spectra(content: bytes) -> ExampleSet:
    """Arrays `x` [n, points], `y` [n] and `grid` [points]."""
    import numpy as np

    with np.load(io.BytesIO(content), allow_pickle=False) as npz:
        x, y, grid = npz["x"], npz["y"], npz["grid"]

    def pack(chosen: Sequence[int]) -> bytes:
        buffer = io.BytesIO()
        np.savez(buffer, x=x[chosen], y=y[chosen], grid=grid)
        return buffer.getvalue()

    return _cut(
        title="near-infrared spectra by product",
        modality="signal",
        filename="spectra.npz",
        inputs=[{"grid": grid.tolist(), "values": row} for row in x.tolist()],
        labels=y.tolist(),
        pack=pack,
    )


def _cut(
    title: str,
    modality: ModalityName,
    filename: str,
    inputs: Sequence[Any],
    labels: Sequence[str],
    pack: Callable[[Sequence[int]], bytes],
) -> ExampleSet:
    chosen = draw(labels)
    rest = sorted(set(range(len(labels))) - set(chosen))
    return ExampleSet(
        title=title,
        modality=modality,
        classes=len(set(labels)),
        filename=filename,
        upload=pack(chosen),
        unseen=[(inputs[i], labels[i]) for i in rest],
    )


def draw(labels: Sequence[str]) -> list[int]:
    """Rows of `SHOTS` examples a class, the same in every run."""
    generator = random.Random(SEED)  # noqa: S311 (a draw to be repeated, not a secret)
    rows: dict[str, list[int]] = {}
    for i, label in enumerate(labels):
        rows.setdefault(label, []).append(i)
    return [i for label in sorted(rows) for i in sorted(generator.sample(rows[label], SHOTS))]


def _zip(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()
