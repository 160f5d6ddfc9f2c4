"""The preprocess spec of an imported backbone: what its graph expects, and how its output is pooled."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, TypeAdapter, ValidationError

from models.backbone import AudioPreprocess, ImagePreprocess, Preprocess, SignalPreprocess, TextPreprocess
from models.base import ModalityName, Record
from models.errors import InvalidInput

Pool = Literal["channels_first", "channels_last", "first"]


class Frontend(Record):
    """A first model that turns sound into frames, before the one that embeds windows of frames.

    `lead` seconds of silence come before each clip, for models that look at the end of their window, as
    those of wake words do. Frames [N, F, bins] become `frames * scale + shift`, are cut into windows of
    `window` frames every `hop`, and the embeddings of a clip's windows are averaged. `model` is a file
    beside the main one.
    """

    model: str
    input: str | None = None
    output: str | None = None
    lead: float = Field(default=0.0, ge=0, le=10)
    scale: float = Field(default=1.0, allow_inf_nan=False)
    shift: float = Field(default=0.0, allow_inf_nan=False)
    window: int = Field(ge=1, le=100_000)
    hop: int = Field(ge=1, le=100_000)


class Pooling(Record):
    """How the output becomes one vector an example.

    `pool` averages over space or time: `channels_first` for [N, D, ...], `channels_last` for [N, ..., D]
    (text: over the tokens that the mask keeps); `first` takes the first token of [N, T, D]. Without it
    the output must be one vector already, give or take dimensions of 1.
    """

    pool: Pool | None = None
    frontend: Frontend | None = None


@dataclass(frozen=True)
class ImportSpec:
    """A checked spec.json."""

    preprocess: Preprocess
    pooling: Pooling

    @property
    def rate(self) -> int:
        """Audio samples a second; of a signal, 1."""
        return self.preprocess.sample_rate if isinstance(self.preprocess, AudioPreprocess) else 1

    @property
    def samples(self) -> int:
        """Values of one audio clip or signal."""
        match self.preprocess:
            case AudioPreprocess() as audio:
                return round(audio.sample_rate * audio.seconds)
            case SignalPreprocess() as signal:
                return signal.points
        raise TypeError("images and texts have no samples")


_BOUNDS: dict[str, tuple[float, float]] = {
    "max_tokens": (2, 8192),
    "width": (1, 4096),
    "height": (1, 4096),
    "crop_ratio": (0.1, 1),
    "sample_rate": (1_000, 192_000),
    "seconds": (0.01, 120),
    "points": (2, 1_000_000),
    "std": (1e-12, math.inf),
}
_PREPROCESS: TypeAdapter[Preprocess] = TypeAdapter(Preprocess)


def read_spec(fields: Mapping[str, Any], modality: ModalityName) -> ImportSpec:
    """Check the fields of a spec.json. Raises InvalidInput (code `preprocess`) naming the field."""
    if not isinstance(fields, Mapping):
        raise refused("spec.json must be one JSON object.")
    rest = {key: value for key, value in fields.items() if key not in Pooling.model_fields}
    if rest.setdefault("kind", modality) != modality:
        raise refused(f"kind must be {modality}, the modality of the import.", "kind")
    try:
        pooling = Pooling.model_validate({key: fields[key] for key in fields if key not in rest})
        preprocess = _PREPROCESS.validate_python(rest)
    except ValidationError as error:
        raise _explained(error) from None
    _check_bounds(preprocess)
    _check_files(preprocess, pooling)
    return ImportSpec(preprocess, pooling)


def refused(message: str, field: str | None = None) -> InvalidInput:
    """The error of a spec that cannot be used."""
    return InvalidInput(message, code="preprocess", param=field)


def _explained(error: ValidationError) -> InvalidInput:
    first = error.errors(include_input=False, include_url=False)[0]
    names = [str(part) for part in first["loc"] if part not in ("text", "image", "audio", "signal")]
    field = ".".join(names) or "preprocess"
    return refused(f"The spec's {field} is wrong: {first['msg']}.", field)


def _check_bounds(preprocess: Preprocess) -> None:
    for name, value in preprocess:
        values = value if isinstance(value, tuple) else (value,)
        numbers = [v for v in values if isinstance(v, int | float)]
        low, high = _BOUNDS.get(name, (-math.inf, math.inf))
        if not all(math.isfinite(v) and low <= v <= high for v in numbers):
            raise refused(f"The spec's {name} must be finite, {low:g} to {high:g}.", name)


def _check_files(preprocess: Preprocess, pooling: Pooling) -> None:
    """Files are named, not reached by a path: they lie beside the model."""
    if pooling.frontend and not isinstance(preprocess, AudioPreprocess):
        raise refused("Only audio takes a frontend.", "frontend")
    names = {
        "tokenizer": preprocess.tokenizer if isinstance(preprocess, TextPreprocess) else None,
        "frontend.model": pooling.frontend.model if pooling.frontend else None,
    }
    for field, name in names.items():
        if name is not None and (not name or name != name.strip(".") or set(name) & set("/\\\0")):
            raise refused(f"The spec's {field} must be the plain name of a file beside the model.", field)


def feed_shape(spec: ImportSpec) -> tuple[int | str, ...]:
    """Dimensions of one example as the preprocessor makes it; a name where they differ (tokens)."""
    match spec.preprocess:
        case ImagePreprocess(layout="NHWC") as image:
            return (image.height, image.width, 3)
        case ImagePreprocess() as image:
            return (3, image.height, image.width)
        case TextPreprocess():
            return ("L",)
        case _:
            return (spec.samples,)
