"""Writing a fitted head as an artefact, and proving first that its graph computes what was fitted."""

from __future__ import annotations

import io
import platform
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.base import sha256
from models.errors import JobFailed
from models.manifest import GOLDEN, HEAD, MANIFEST, Manifest
from models.novelty import NOVELTY, Novelty
from models.runtime import open_session
from training.heads import Activation, AffineHead, Head, scores
from training.several import parts_of

_PARITY_ROWS = 2000
_TOLERANCE = 1e-4
_GOLDEN = 4
_PACKAGES = ("numpy", "scipy", "onnx", "onnxruntime")


def versions() -> dict[str, str]:
    """What the numbers of a fit depend on: of the modules, since packages of two names bring onnxruntime."""
    modules = {name: import_module(name) for name in _PACKAGES}
    return {"python": platform.python_version(), **{name: one.__version__ for name, one in modules.items()}}


def check_parity(head: Head, graph: bytes, features: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the graph answers for up to 2,000 rows of features, if it agrees with the fitted head.

    Raises JobFailed: `non_finite`, or `parity` when they differ by more than 1e-4 (regression: of the
    largest value, where that is above 1).
    """
    rows = features[:_PARITY_ROWS]
    answers: NDArray[np.float32] = open_session(graph).run(None, {"features": rows})[0]
    expected = scores(head, rows)
    if not head.finite():
        raise JobFailed("The fitted head has numbers that are not finite.", code="non_finite")
    for columns, activation in parts_of(head):
        compare(answers[:, columns], expected[:, columns], activation)
    return answers


def prove_a_graph() -> None:
    """Export and run a head of two weights, so that what the first one sets up is there."""
    head = AffineHead(np.ones((1, 2)), np.zeros(1), "identity")
    check_parity(head, head.to_onnx(), np.zeros((1, 2), np.float32))


def compare(answers: NDArray[Any], expected: NDArray[Any], activation: Activation) -> None:
    """Raises JobFailed: `non_finite`, or `parity` as `check_parity` does."""
    if not np.isfinite(answers).all():
        raise JobFailed("The exported graph gives numbers that are not finite.", code="non_finite")
    scale = max(1.0, float(np.abs(expected).max())) if activation == "identity" else 1.0
    worst = float(np.abs(answers - expected).max()) / scale
    if worst > _TOLERANCE:
        raise JobFailed(
            f"The exported graph differs from the fitted head by {worst:.1e}; {_TOLERANCE:.0e} is allowed.",
            code="parity",
        )


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


def golden_contents(data: bytes) -> list[bytes]:
    """The inputs of such a file."""
    with np.load(io.BytesIO(data), allow_pickle=False) as npz:
        blob, ends = npz["blob"].tobytes(), npz["ends"].tolist()
    return [blob[a:b] for a, b in pairwise([0, *ends])]


def write_artefact(
    output: Path, graph: bytes, golden: bytes, novelty: Novelty | None = None, **identity: Any
) -> Manifest:
    """Write the parts and their manifest into `output`; `identity` are the manifest's other fields."""
    files = {HEAD: graph, GOLDEN: golden}
    if novelty is not None:
        files[NOVELTY] = novelty.to_bytes()
    manifest = Manifest(**identity, files={name: sha256(data) for name, data in files.items()})
    output.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (output / name).write_bytes(data)
    (output / MANIFEST).write_bytes(manifest.canonical())
    return manifest
