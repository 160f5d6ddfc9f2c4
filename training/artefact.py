"""Writing a fitted head as an artefact, and proving first that its graph computes what was fitted."""

from __future__ import annotations

import io
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import sha256
from models.errors import JobFailed
from models.manifest import GOLDEN, HEAD, MANIFEST, Manifest
from models.runtime import open_session
from training.heads import Head, scores

_PARITY_ROWS = 2000
_TOLERANCE = 1e-4
_GOLDEN = 4
_PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime-gpu")


def versions() -> dict[str, str]:
    """What the numbers of a fit depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}


def check_parity(head: Head, graph: bytes, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the graph answers for up to 2,000 rows of features, if it agrees with the fitted head.

    Raises JobFailed: `non_finite`, or `parity` when they differ by more than 1e-4 (regression: of the
    largest value, where that is above 1).
    """
    rows = features[:_PARITY_ROWS]
    answers: NDArray[np.float32] = open_session(graph).run(None, {"features": rows})[0]
    expected = scores(head, rows)
    if not (head.finite() and np.isfinite(answers).all()):
        raise JobFailed("The fitted head has numbers that are not finite.", code="non_finite")
    scale = max(1.0, float(np.abs(expected).max())) if head.activation == "identity" else 1.0
    worst = float(np.abs(answers - expected).max()) / scale
    if worst > _TOLERANCE:
        raise JobFailed(
            f"The exported graph differs from the fitted head by {worst:.1e}; {_TOLERANCE:.0e} is allowed.",
            code="parity",
        )
    return answers


def golden_bytes(
    contents: Sequence[bytes], features: NDArray[np.float32], outputs: NDArray[np.float32]
) -> bytes:
    """The first training examples and their answers, as deterministic npz.

    `blob` uint8 and `ends` int64 hold the canonical inputs end to end; `features` [k, D]; `outputs`
    [k, C] or [k, K].
    """
    kept = contents[:_GOLDEN]
    buffer = io.BytesIO()
    np.savez(
        buffer,
        blob=np.frombuffer(b"".join(kept), np.uint8),
        ends=np.cumsum([len(content) for content in kept], dtype=np.int64),
        features=features[:_GOLDEN],
        outputs=outputs[:_GOLDEN],
    )
    return buffer.getvalue()


def write_artefact(output: Path, graph: bytes, golden: bytes, **identity: Any) -> Manifest:
    """Write head, golden examples and manifest into `output`; `identity` are the manifest's fields."""
    manifest = Manifest(**identity, files={HEAD: sha256(graph), GOLDEN: sha256(golden)})
    output.mkdir(parents=True, exist_ok=True)
    (output / HEAD).write_bytes(graph)
    (output / GOLDEN).write_bytes(golden)
    (output / MANIFEST).write_bytes(manifest.canonical())
    return manifest
