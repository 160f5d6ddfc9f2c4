"""What a fine-tuned model is: one ONNX head (or tail) and this record. The method leaves no other trace."""

from __future__ import annotations

import json
from itertools import accumulate, pairwise
from typing import Final, Literal

from pydantic import Field

from models.base import ModalityName, Record, TaskName, sha256
from models.errors import CorruptArtefact

MANIFEST = "manifest.json"
HEAD = "head.onnx"
GOLDEN = "golden.npz"
REPORT = "report.json"
FORMAT: Final = 1
"""Of manifests and what they name. A release reads its own and, where there is one, the former."""


def _absent(value: object) -> bool:
    """Fields that came later are left out where they say nothing, so that old digests stay what they were."""
    return value is None or value == ()


class SignalGrid(Record):
    """The reference grid of a signal dataset: `length` points, evenly from `lo` to `hi`.

    Without physical coordinates the grid is the index, 0 to length - 1.
    """

    length: int = Field(ge=1)
    lo: float
    hi: float


class InputSpec(Record):
    """What one input of a dataset or model looks like."""

    modality: ModalityName
    grid: SignalGrid | None = None


class Head(Record):
    """The part above the tap.

    `head.onnx` takes `features` float32 [N, in_dim] and gives `scores` float32 [N, C] (classification,
    multilabel) or `value` float32 [N, K] (regression). An `affine` head is
    `activation(features @ weight.T + bias)` with initializers named `weight` [C, in_dim] and `bias` [C],
    which lets the engine stack it with others; a `graph` head is run as it is.

    A `tail` begins below the top: the backbone is cut at the manifest's tap (`models.cut`), the graph takes
    the cut's edges and gives first its scores or value, then `tail_embedding` float32 [N, in_dim]. At the tap
    `input` the whole backbone is its own.

    Where the manifest names further `outputs`, the answers lie side by side in one tensor [N, out_dim], the
    model's own first (`Manifest.columns`), and each comes with its activation done: `activation` is identity.
    """

    kind: Literal["affine", "graph", "tail"]
    activation: Literal["softmax", "sigmoid", "identity"]
    in_dim: int
    out_dim: int


class BackboneRef(Record):
    """A backbone by name (for people) and digest (identity)."""

    id: str
    digest: str


class PredictionSets(Record):
    """Labels with a score of at least `threshold`, and the likeliest: `level` of such sets hold the truth."""

    level: float
    threshold: float


class Rejection(Record):
    """Inputs whose novelty (`models.novelty`) lies above `threshold` are answered as unknown.

    `false_alarms` is the share of the examples, each left out, that would have been.
    """

    threshold: float
    false_alarms: float


class Output(Record):
    """A further answer of a model: of another task that shares its trunk, say. As `Manifest` means them."""

    name: str = Field(pattern=r"^[a-z0-9_-]{1,64}$")
    task: TaskName
    labels: tuple[str, ...]
    interval: float | None = Field(default=None, exclude_if=_absent)


class Manifest(Record):
    """Identity of a fine-tuned model: everything that decides its answers, nothing that does not."""

    format: Literal[1] = FORMAT
    task: TaskName
    labels: tuple[str, ...] = Field(description="class names in score order; target names for regression")
    input: InputSpec
    backbone: BackboneRef
    tap: str
    head: Head
    method: str
    hyperparameters: dict[str, float | int | str | bool | None]
    interval: float | None = Field(
        default=None, description="regression: half-width of the 95 % interval, from out-of-fold residuals"
    )
    prediction_sets: PredictionSets | None = Field(
        default=None,
        exclude_if=_absent,
        description="classification with three examples of each class or more",
    )
    rejection: Rejection | None = Field(
        default=None, exclude_if=_absent, description="with five examples of each class or more"
    )
    outputs: tuple[Output, ...] = Field(
        default=(), exclude_if=_absent, description="what it answers beside its own task, in the head's order"
    )
    seed: int
    dataset_digest: str
    versions: dict[str, str]
    files: dict[str, str] = Field(description="SHA-256 of every other file but the report")

    @property
    def columns(self) -> tuple[slice, ...]:
        """Where the answers lie in the head's: the model's own, then those of `outputs`."""
        widths = [len(output.labels) for output in self.outputs]
        ends = accumulate(widths, initial=self.head.out_dim - sum(widths))
        return tuple(slice(a, b) for a, b in pairwise([0, *ends]))

    def alone(self, output: Output | None = None) -> Manifest:
        """A model that answers one thing: its own task, or one of the `outputs`."""
        if not self.outputs:
            return self
        width = self.columns[0].stop if output is None else len(output.labels)
        only: dict[str, object] = {"outputs": (), "head": self.head.model_copy(update={"out_dim": width})}
        if output is not None:
            only |= {"task": output.task, "labels": output.labels, "interval": output.interval}
            only |= {"prediction_sets": None, "rejection": None}
        return self.model_copy(update=only)

    @property
    def digest(self) -> str:
        return sha256(self.canonical())


def read_manifest(data: bytes) -> Manifest:
    """A manifest of this format, or CorruptArtefact: also for one of a later format, which is named.

    There is no former format yet: manifests written before a field came are without it, and read as they are.
    """
    try:
        return Manifest.model_validate_json(data)
    except ValueError as error:
        later = _format(data)
        if later > FORMAT:
            message = f"An artefact has format {later}, of a later release; this one reads {FORMAT}."
            raise CorruptArtefact(message) from None
        raise CorruptArtefact("An artefact has no readable manifest.json.") from error


def _format(data: bytes) -> int:
    """What it says; 0 where it says nothing."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        return 0
    told = found.get("format") if isinstance(found, dict) else None
    return told if isinstance(told, int) else 0
