"""What a fine-tuned model is: one ONNX head (or tail) and this record. The method leaves no other trace."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import ModalityName, Record, TaskName, sha256

MANIFEST = "manifest.json"
HEAD = "head.onnx"
GOLDEN = "golden.npz"
REPORT = "report.json"


def _absent(value: object) -> bool:
    """Fields that came later are left out where they say nothing, so that old digests stay what they were."""
    return value is None


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


class Manifest(Record):
    """Identity of a fine-tuned model: everything that decides its answers, nothing that does not."""

    format: Literal[1] = 1
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
    seed: int
    dataset_digest: str
    versions: dict[str, str]
    files: dict[str, str] = Field(description="SHA-256 of every other file but the report")

    @property
    def digest(self) -> str:
        return sha256(self.canonical())
