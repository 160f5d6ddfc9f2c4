"""What a fine-tuned model is: one ONNX head (or tail) and this record. The method leaves no other trace."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from models.base import ModalityName, Record, TaskName, sha256

MANIFEST = "manifest.json"
HEAD = "head.onnx"
GOLDEN = "golden.npz"
REPORT = "report.json"


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
    """

    kind: Literal["affine", "graph"]
    activation: Literal["softmax", "sigmoid", "identity"]
    in_dim: int
    out_dim: int


class BackboneRef(Record):
    """A backbone by name (for people) and digest (identity)."""

    id: str
    digest: str


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
    seed: int
    dataset_digest: str
    versions: dict[str, str]
    files: dict[str, str] = Field(description="SHA-256 of head.onnx and golden.npz")

    @property
    def digest(self) -> str:
        return sha256(self.canonical())
