"""A backbone on disk: one folder with `card.json`, `model.onnx` and what its preprocessing needs.

The graph's inputs are what `models.modalities` prepares, its outputs are the taps: pooled features
`[N, dim]`, float32, one named output a tap.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import orjson
from pydantic import Field

from models.base import ModalityName, Record, TaskName, sha256
from models.errors import CorruptArtefact
from models.manifest import BackboneRef

CARD = "card.json"
GRAPH = "model.onnx"
Precision = Literal["int8", "fp16"]
"""What a variant computes in: int8 is for the CPU, fp16 for the GPU."""
REDUCING_GAP = 2.0
"""Of the backbones that Durian makes of other people's: a photograph of twelve megapixels differs by 0.2 of
255 from one that was never reduced."""
_STAT = "_stat"
"""Ends the name of a tap that holds the standard deviation too."""
_UPPER = 0.5


def _is_none(value: object) -> bool:
    """Left out where absent, so that a card without the field keeps its bytes and its digest."""
    return value is None


def _is_false(value: object) -> bool:
    return value is False


class Tap(Record):
    """A place in the backbone where a head or tail may begin."""

    name: str
    dim: int
    depth: float = Field(ge=0, le=1, description="0 at the input, 1 at the top")


class Subwords(Record):
    """Rows for the character n-grams of words that the tokenizer calls unknown (id 0).

    The table has `first` rows of words, then `buckets` rows, one for each value of an n-gram's hash.
    """

    shortest: int = Field(ge=1)
    longest: int = Field(ge=1)
    first: int = Field(ge=1)
    buckets: int = Field(ge=1)

    @property
    def rows(self) -> int:
        return self.first + self.buckets


class TextPreprocess(Record):
    """Text -> token ids. Inputs of the graph: `input_ids`, `attention_mask`, int64 [N, L]."""

    kind: Literal["text"] = "text"
    tokenizer: str = "tokenizer.json"
    max_tokens: int = 128
    subwords: Subwords | None = Field(default=None, exclude_if=_is_none)


class ImagePreprocess(Record):
    """Encoded image -> RGB pixels, orientation applied, resized.

    `fit` is how the picture meets the frame: `squash` ignores its proportions, `crop` resizes the
    short side to the frame (times `1 / crop_ratio`) and cuts the centre. As uint8 NHWC the graph
    normalises by itself; as float32 the values are `(pixel * scale - mean) / std`.

    With a `reducing_gap` (Pillow's name) larger pictures are first made smaller by whole numbers, but not
    smaller than so many times the frame: a JPEG while it is decoded, by powers of two.
    """

    kind: Literal["image"] = "image"
    width: int
    height: int
    fit: Literal["squash", "crop"] = "squash"
    crop_ratio: float = 1.0
    resample: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    layout: Literal["NHWC", "NCHW"] = "NHWC"
    dtype: Literal["uint8", "float32"] = "uint8"
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    reducing_gap: float | None = Field(default=None, ge=1, le=16, exclude_if=_is_none)


class AudioPreprocess(Record):
    """Encoded audio -> mono waveform in [-1, 1] times `scale`, resampled, cut or padded to `seconds`.

    Cutting keeps the centre; padding puts silence on both sides.
    """

    kind: Literal["audio"] = "audio"
    sample_rate: int = 16_000
    seconds: float = 1.0
    scale: float = 1.0


class SignalPreprocess(Record):
    """1-D signal -> `points` values, linearly resampled over its own grid."""

    kind: Literal["signal"] = "signal"
    points: int = 256


Preprocess = Annotated[
    TextPreprocess | ImagePreprocess | AudioPreprocess | SignalPreprocess, Field(discriminator="kind")
]


class Effect(Record):
    """What a variant does to one fitted task, beside its original.

    Each has the task's reference method fitted on its own features at its default tap and is predicted
    under the same folds. Differences are the variant's value minus the original's on the same example.
    """

    task: str = Field(description="name of the labelled file, without its ending")
    kind: TaskName
    examples: int = Field(description="examples predicted out of fold")
    method: str
    metric: str
    original: float
    variant: float
    hits: float | None = Field(description="mean paired difference of right answers; None for regression")
    hits_error: float | None = Field(description="its standard error")
    loss: float = Field(description="mean paired difference of the out-of-fold loss: below 0 is better")
    loss_error: float = Field(description="its standard error")
    agreement: float | None = Field(description="share of the same answers; None for regression")
    cosine_mean: float = Field(description="of an example's features to those of the original")
    cosine_least: float
    bytes: int = Field(description="size of the graph")
    bytes_original: int
    speed: float = Field(description="items per CPU second over the original's, interleaved")


class BackboneCard(Record):
    """Who a backbone is: everything but its weights."""

    id: str
    modality: ModalityName
    preprocess: Preprocess
    input: str = Field(description="name of the graph's input (text graphs also take attention_mask)")
    taps: tuple[Tap, ...] = Field(min_length=1)
    default_tap: str
    parameters: int
    licence: str
    source: str
    baseline: bool = Field(default=False, description="a declared baseline")
    padding_free: bool = Field(
        default=False,
        exclude_if=_is_false,
        description="only attention pads: lengths may differ in a batch",
    )
    variant_of: BackboneRef | None = Field(
        default=None, exclude_if=_is_none, description="the backbone that this one is a smaller form of"
    )
    precision: Precision | None = Field(default=None, exclude_if=_is_none, description="of a variant")
    effect: Effect | None = Field(default=None, exclude_if=_is_none, description="of a variant: measured")
    files: dict[str, str] = Field(description="SHA-256 of each file beside the card")

    @property
    def digest(self) -> str:
        """Identity of what it computes: files, preprocessing and taps; not its name, licence or source."""
        identity = self.model_dump(mode="json", include={"modality", "preprocess", "input", "taps", "files"})
        return sha256(orjson.dumps(identity, option=orjson.OPT_SORT_KEYS))

    def tap(self, name: str | None = None) -> Tap:
        """The named tap, or the default one; `a+b` is the features of both, end to end. Raises KeyError."""
        wanted = name or self.default_tap
        for tap in self.taps:  # each prediction asks for one
            if tap.name == wanted:
                return tap
        known = {tap.name: tap for tap in self.taps}
        parts = [known[part] for part in split_tap(wanted)]
        return Tap(name=wanted, dim=sum(p.dim for p in parts), depth=max(p.depth for p in parts))

    def trial_taps(self) -> tuple[str, ...]:
        """The taps that a job chooses among, the default one first.

        Of texts the means of the upper half, and the default joined with the lowest of these and with
        what is no mean (docs/auto.md); of others every tap, for a task may be one of brightness or texture.
        """
        others = [tap for tap in self.taps if tap.name != self.default_tap]
        if self.modality != "text" or self.baseline:
            return (self.default_tap, *(tap.name for tap in others))
        upper = [t for t in others if t.depth >= _UPPER and not t.name.endswith(_STAT)]
        special = [tap.name for tap in upper if not tap.name.startswith("layer")]
        low = [tap.name for tap in sorted(upper, key=lambda tap: tap.depth)[:1]]
        joined = (f"{self.default_tap}+{name}" for name in dict.fromkeys([*low, *special]))
        return (self.default_tap, *(tap.name for tap in upper), *joined)

    @property
    def embedding_dim(self) -> int:
        return self.tap().dim


def split_tap(name: str) -> list[str]:
    """The taps that a joined tap `a+b` is made of, in order; a plain one is made of itself."""
    return name.split("+")


def read_card(folder: Path) -> BackboneCard:
    """Load and check `card.json` of a backbone folder. Raises CorruptArtefact."""
    try:
        return BackboneCard.model_validate_json((folder / CARD).read_bytes())
    except (OSError, ValueError):
        raise CorruptArtefact("A backbone folder has no readable card.json.") from None


def write_backbone(folder: Path, card: BackboneCard, files: dict[str, bytes]) -> None:
    """Write a complete backbone into a new folder (its files first, the card last)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / CARD).write_bytes(orjson.dumps(card.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
