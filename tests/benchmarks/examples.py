"""Labelled examples that benchmarks draw from: CLINC150 where it is, and the project's own sets."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
from PIL import Image

from app.client.inputs import json_value
from app.settings import PROJECT
from models.base import ModalityName, sha256
from models.dataset import Pack
from models.manifest import InputSpec
from models.modalities import modality
from tests.benchmarks.registry import Setup

CLINC = "text/clinc150.parquet"
_FOLDER = PROJECT / "examples"
_FRAME = (256, 224)


@dataclass(frozen=True)
class Examples:
    """Inputs and their classes, in one order."""

    modality: ModalityName
    inputs: Sequence[Any]
    labels: Sequence[str]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Iterable[int]) -> Examples:
        rows = list(rows)
        return Examples(self.modality, [self.inputs[i] for i in rows], [self.labels[i] for i in rows])

    def draw(self, shots: int, seed: int) -> list[int]:
        """Rows of `shots` examples a class, classes in order, by `random.Random(seed)`."""
        generator = random.Random(seed)
        rows: dict[str, list[int]] = {}
        for i, label in enumerate(self.labels):
            rows.setdefault(label, []).append(i)
        return [i for label in sorted(rows) for i in generator.sample(rows[label], shots)]

    def split(self, shots: int, seed: int) -> tuple[Examples, Examples]:
        """A draw, and all the others."""
        drawn = self.draw(shots, seed)
        return self.take(drawn), self.take(sorted(set(range(len(self))) - set(drawn)))

    def classes(self, count: int) -> Examples:
        """Those of the first `count` classes."""
        kept = set(sorted(set(self.labels))[:count])
        return self.take(i for i, label in enumerate(self.labels) if label in kept)

    def jsonl(self) -> bytes:
        """As an upload."""
        pairs = zip(self.inputs, self.labels, strict=True)
        return "\n".join(json.dumps({"input": json_value(x), "label": y}) for x, y in pairs).encode()


def stored(root: Path, examples: Examples, *, labelled: bool = True) -> Path:
    """The examples as a pack in `root`, under its digest; on demand without their labels."""
    spec, kind = InputSpec(modality=examples.modality), modality(examples.modality)
    contents = tuple(kind.canonical(value, spec, "input") for value in examples.inputs)
    labels = tuple(examples.labels) if labelled else (None,) * len(examples)
    data = Pack("classification", spec, contents, labels).to_bytes()
    path = root / sha256(data)
    path.write_bytes(data)
    return path


def clinc150(setup: Setup) -> tuple[Examples, Examples]:
    """Training and test part of the 150 intents, without the out-of-scope texts. Raises Skipped."""
    rows = parquet.read_table(setup.file(CLINC)).to_pylist()
    return _clinc_part(rows, "train"), _clinc_part(rows, "test")


def _clinc_part(rows: Sequence[dict[str, str]], split: str) -> Examples:
    kept = [row for row in rows if row["split"] == split and row["intent"] != "oos"]
    return Examples("text", [row["text"] for row in kept], [row["intent"] for row in kept])


def texts() -> Examples:
    """12 intents of customer support."""
    rows = [json.loads(line) for line in (_FOLDER / "texts.jsonl").read_text("utf-8").splitlines()]
    return Examples("text", [row["input"] for row in rows], [row["label"] for row in rows])


def digits() -> Examples:
    """Scans of handwritten digits, as PNG."""
    with zipfile.ZipFile(io.BytesIO((_FOLDER / "digits.zip").read_bytes())) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        scans = [archive.read(name) for name in names]
    return Examples("image", scans, [name.split("/")[0] for name in names])


def photographs(count: int) -> Examples:
    """JPEGs of 256 x 224 pixels and about 18 kB that show nothing, of ten classes: for the time they take."""
    rng = np.random.default_rng(0)
    return Examples("image", [_photograph(rng) for _ in range(count)], [str(i % 10) for i in range(count)])


def _photograph(rng: np.random.Generator) -> bytes:
    """Large shapes and the grain of a sensor."""
    shapes = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).resize(
        _FRAME, Image.Resampling.BICUBIC
    )
    grainy = np.asarray(shapes) + rng.normal(0, 12, (_FRAME[1], _FRAME[0], 3))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(grainy, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def spectra() -> Examples:
    """Simulated near-infrared spectra of 6 foods."""
    with np.load(_FOLDER / "spectra.npz", allow_pickle=False) as npz:
        x, y, grid = npz["x"].tolist(), npz["y"].tolist(), npz["grid"].tolist()
    return Examples("signal", [{"grid": grid, "values": row} for row in x], y)


def errands() -> Examples:
    """150 made-up intents, a thing to do and what with, each said in 10 ways."""
    pairs = [f"{verb} {thing}" for verb, thing in product(_VERBS.split(","), _THINGS.split(","))]
    said = [(way.format(pair), pair) for pair, way in product(pairs, _WAYS.split(","))]
    return Examples("text", [text for text, _ in said], [pair for _, pair in said])


_VERBS = "find,sell,repair,rent,return,clean,lend,insure,weigh,paint"
_THINGS = "a car,a boat,the roof,my bike,a lamp,a phone,the oven,my piano,a tent,the fence,a book,my coat,"
_THINGS += "a desk,the door,my drill"
_WAYS = "please {},I want to {},can you {},how do I {},help me {},I need to {},is it time to {},"
_WAYS += "where can I {},who can {},remind me to {}"
