"""Whether an installed backbone is what its card says, and answers each example whatever stands beside it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from models.backbone import TextPreprocess
from models.base import Record
from models.errors import CorruptArtefact, DurianError, NotFound
from models.modalities.base import Prepared
from models.runtime import Backbone, Features
from models.shelf import backbone_folders
from training.backbones.probe import random_examples

TOLERANCE = 1e-5  # of the largest value of a tap, or of 1 where that is less
TEXTS = (
    "a",
    "Where is my parcel?",
    "I cannot log in since the update; please help me with the password form. " * 2,
    "naïve café 漢字 42",
)


class Verdict(Record):
    """What came of one backbone; `code` and `message` are None where all is well.

    `batch_difference` is the largest difference that batching makes, relative to the tap's scale.
    """

    id: str
    ok: bool
    digest: str | None = None
    taps: int = 0
    batch_difference: float | None = None
    seconds: float
    code: str | None = None
    message: str | None = None


def verify(roots: Sequence[Path], ids: Sequence[str], emit: Callable[[str], object]) -> Iterator[Verdict]:
    """A verdict on each named backbone under `roots`, or on all; where two have one id, the first counts.

    Also of folders that the service leaves out because they are broken. Raises NotFound for an id that no
    folder has, before anything is verified.
    """
    found: dict[str, Path] = {}
    for root in roots:
        for id, folder in backbone_folders(root):
            found.setdefault(id, folder)
    missing = sorted(set(ids) - set(found))
    if missing:
        known = ", ".join(sorted(found)) or "none; run `durian backbones setup`"
        raise NotFound(f"There is no backbone {missing[0]}. Installed: {known}.", code="backbone_not_found")
    for id in dict.fromkeys(ids or sorted(found)):
        emit(f"{id}: verifying")
        yield verdict(id, found[id])


def verdict(id: str, folder: Path) -> Verdict:
    """Re-hash every file of a folder, load it, and run a probe batch."""
    started = time.perf_counter()
    try:
        backbone = _open(id, folder)
        difference = examine(backbone)
    except DurianError as error:
        seconds = time.perf_counter() - started
        return Verdict(id=id, ok=False, seconds=seconds, code=error.code, message=error.message)
    card = backbone.card
    return Verdict(
        id=id,
        ok=True,
        digest=card.digest,
        taps=len(card.taps),
        batch_difference=difference,
        seconds=time.perf_counter() - started,
    )


def _open(id: str, folder: Path) -> Backbone:
    try:
        backbone = Backbone(folder)
    except DurianError:
        raise
    except Exception:  # ONNX Runtime's errors share no base
        message = "ONNX Runtime cannot load its graph; add or import it again."
        raise CorruptArtefact(message, code="unloadable") from None
    if backbone.card.id != id:
        raise CorruptArtefact("Its card names another backbone than its folder.", code="misplaced")
    return backbone


def examine(backbone: Backbone) -> float:
    """The largest difference that batching makes in any tap, relative to the tap's scale.

    Every tap of a probe batch must have the card's shape and be finite; each example must answer the same
    alone, in the batch, and in the batch reversed. Raises CorruptArtefact: `unrunnable`, `output_shape`,
    `non_finite` or `batch_variance`.
    """
    examples = probe_examples(backbone)
    together = _run(backbone, examples)
    for tap in backbone.card.taps:
        _check_values(tap.name, together[tap.name], (len(examples), tap.dim))
    turned = {name: rows[::-1] for name, rows in _run(backbone, examples[::-1]).items()}
    singles = [_run(backbone, [example]) for example in examples]
    alone = {name: np.concatenate([one[name] for one in singles]) for name in together}
    worst = max(_gap(other[name], rows) for name, rows in together.items() for other in (turned, alone))
    if worst > TOLERANCE:
        message = f"An example's features differ by {worst:.1e} of their scale when it is batched."
        raise CorruptArtefact(message, code="batch_variance")
    return worst


def probe_examples(backbone: Backbone) -> list[Prepared]:
    """Four inputs of different length, loudness or brightness, as the preprocessor makes them."""
    if isinstance(backbone.card.preprocess, TextPreprocess):
        return [backbone.preprocessor.prepare(text.encode()) for text in TEXTS]
    return random_examples(backbone)


def _run(backbone: Backbone, examples: Sequence[Prepared]) -> dict[str, Features]:
    try:
        return backbone.run(examples, [tap.name for tap in backbone.card.taps])
    except Exception:  # as above
        message = "ONNX Runtime cannot run its graph on ordinary input."
        raise CorruptArtefact(message, code="unrunnable") from None


def _check_values(tap: str, rows: Features, shape: tuple[int, int]) -> None:
    if rows.shape != shape or rows.dtype != np.float32:
        raise CorruptArtefact(f"The tap {tap} has another shape than the card says.", code="output_shape")
    if not np.isfinite(rows).all():
        message = f"The tap {tap} gives NaN or infinity on ordinary input."
        raise CorruptArtefact(message, code="non_finite")


def _gap(got: Features, expected: Features) -> float:
    return float(np.abs(got - expected).max() / max(1.0, float(np.abs(expected).max())))
