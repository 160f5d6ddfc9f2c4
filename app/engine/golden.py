"""A new version proves itself before it serves: it must repeat what training saw."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.engine.heads import Head, Outputs, apply_alike
from app.engine.model import Prediction
from models.errors import CorruptArtefact
from models.manifest import Manifest
from models.runtime import Features

TOLERANCE = 1e-3


@dataclass(frozen=True)
class Golden:
    """A few canonical inputs with their features [k, D] and outputs [k, C or K], as training had them."""

    contents: tuple[bytes, ...]
    features: Features
    outputs: NDArray[np.float32]

    @classmethod
    def from_bytes(cls, data: bytes) -> Golden:
        """`golden.npz`: `blob` uint8, `ends` int64, `features`, `outputs`. Raises CorruptArtefact."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as npz:
                blob, ends = npz["blob"].tobytes(), npz["ends"].tolist()
                features, outputs = npz["features"], npz["outputs"]
            contents = tuple(blob[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True))
            if not len(contents) == len(features) == len(outputs):
                raise ValueError("not as many answers as inputs")
        except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptArtefact("The artefact's golden examples cannot be read.") from error
        return cls(contents, features, outputs)

    def shortest(self) -> Golden:
        """The one of the fewest bytes alone: a trunk that is not training's gives other features of any."""
        row = min(range(len(self.contents)), key=lambda row: len(self.contents[row]))
        return Golden((self.contents[row],), self.features[row : row + 1], self.outputs[row : row + 1])

    def check_head(self, head: Head, manifest: Manifest) -> None:
        """The head, which is no tail, on the features that training had. Raises as `check`."""
        if self.features.shape[1:] != (manifest.head.in_dim,):
            raise _mismatch("features")
        outputs = apply_alike(self.features, [head] * len(self.features))
        _check_finite(outputs)
        self._check_outputs(outputs, manifest)

    def check(self, got: Prediction, manifest: Manifest) -> None:
        """Compare scores to 1e-3, values and features to 1e-3 of their size.

        Raises CorruptArtefact `golden_mismatch`, and `non_finite` for answers that are no numbers.
        """
        _check_finite(got.outputs)
        if got.embedding is None or not _close(self.features, got.embedding, relative=True):
            raise _mismatch("features")
        self._check_outputs(got.outputs, manifest)

    def _check_outputs(self, got: Outputs, manifest: Manifest) -> None:
        tasks = [manifest.task, *(output.task for output in manifest.outputs)]
        for columns, task in zip(manifest.columns, tasks, strict=True):
            expected, answers = self.outputs[:, columns], got[:, columns]
            if not _close(expected, answers, relative=task == "regression"):
                raise _mismatch("outputs")


def _check_finite(outputs: Outputs) -> None:
    if not np.isfinite(outputs).all():
        raise CorruptArtefact("Served, the model gives numbers that are not finite.", code="non_finite")


def _close(expected: NDArray[np.float32], got: NDArray[np.float32], *, relative: bool) -> bool:
    if expected.shape != got.shape:
        return False
    scale = float(np.abs(expected).max()) if relative else 1.0
    return bool((np.abs(expected - got) <= TOLERANCE * scale).all())  # false for NaN


def _mismatch(what: str) -> CorruptArtefact:
    return CorruptArtefact(
        f"Served, the model does not give the {what} that it gave in training.", code="golden_mismatch"
    )
