"""Audio: WAV (PCM or float), FLAC and Ogg, mixed down to mono, resampled, cut or padded to one length."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import AudioPreprocess, BackboneCard
from models.base import ModalityName
from models.errors import CorruptArtefact, TooLarge
from models.manifest import InputSpec
from models.modalities.base import Empty, Feeds, Prepared, stacked
from models.modalities.containers import UnlistedCodec, check_container
from models.modalities.faults import decoding, fault
from models.modalities.media import media_of, unsupported

MAX_SECONDS = 600
MAX_CHANNELS = 8
RATES = (1_000, 192_000)
_SUBTYPES = {"PCM_S8", "PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "VORBIS", "OPUS"}
_REMEDY = "Export the clip again as 16-bit WAV or FLAC."
_BLOCK = 65_536


class AudioModality:
    """One clip a file, of at most ten minutes."""

    name: ModalityName = "audio"

    def canonical(self, value: object, spec: InputSpec, where: str) -> bytes:
        """The encoded bytes as uploaded, after every sample was decoded.

        Raises UnsupportedMedia; TooLarge `audio_too_long`; InvalidInput `undecodable` (also for lengths
        that lie and clips without samples), `non_finite` or `audio_format`.
        """
        data, _ = media_of(value, self.name, where)
        with decoding(where, _REMEDY), _open(data, where) as clip:
            for _ in _blocks(clip, where):
                continue
        return data

    def content(self, value: object, spec: InputSpec, where: str) -> bytes:
        return media_of(value, self.name, where)[0]

    def preprocessor(self, card: BackboneCard, files: Mapping[str, bytes]) -> AudioPreprocessor:
        if not isinstance(card.preprocess, AudioPreprocess):
            raise CorruptArtefact("The audio backbone's card describes no audio preprocessing.")
        return AudioPreprocessor(card.preprocess, card.input)


def _open(data: bytes, where: str) -> Any:
    """A `soundfile.SoundFile` whose header was checked. The caller wraps this in `decoding`."""
    import soundfile

    data, kind = media_of(data, "audio", where)
    try:
        check_container(kind.format, data)
    except UnlistedCodec:
        raise unsupported("audio", where) from None
    clip = soundfile.SoundFile(io.BytesIO(data))
    _check_header(clip, where)
    return clip


def _check_header(clip: Any, where: str) -> None:
    if clip.subtype not in _SUBTYPES:
        raise unsupported("audio", where)
    if not RATES[0] <= clip.samplerate <= RATES[1] or clip.channels > MAX_CHANNELS:
        raise fault(
            where,
            f"the clip must have {RATES[0]} to {RATES[1]} samples a second and at most "
            f"{MAX_CHANNELS} channels. Convert it.",
            "audio_format",
        )
    if clip.frames > MAX_SECONDS * clip.samplerate:
        raise fault(
            where,
            "the clip is over ten minutes, or does not say how long. Cut or re-export it.",
            "audio_too_long",
            TooLarge,
        )


def _blocks(clip: Any, where: str) -> Iterator[NDArray[np.float32]]:
    """Every frame, in blocks `[n, channels]`, so that a header cannot ask for memory.

    Raises InvalidInput `non_finite`; ValueError when there are none, or fewer than the header says.
    """
    left = clip.frames
    while left > 0:
        block: NDArray[np.float32] = clip.read(min(left, _BLOCK), dtype="float32", always_2d=True)
        if not len(block):
            break
        if not np.isfinite(block).all():
            raise fault(where, "the clip holds NaN or infinite samples. Export it again.", "non_finite")
        left -= len(block)
        yield block
    if left or not clip.frames:
        raise ValueError


class AudioPreprocessor:
    """Waveform float32 `[sample_rate * seconds]`, mono, in [-1, 1] times `scale`.

    A longer clip is cut to its centre, a shorter one stands in the middle of silence: networks that look
    at the end of their window hear it too (spoken digits with 5 shots: 98 % centred, 80 % at the start).
    """

    def __init__(self, how: AudioPreprocess, input_name: str) -> None:
        self._how = how
        self._input = input_name
        self._points = round(how.sample_rate * how.seconds)

    def prepare(self, content: bytes, where: str = "input") -> Prepared:
        with decoding(where, _REMEDY), _open(content, where) as clip:
            wave = _centre(clip, self._how.seconds, where)
            wave = _resample(wave, clip.samplerate, self._how.sample_rate)
        fitted = np.zeros(self._points, np.float32)
        wave = wave[: self._points]
        start = (self._points - len(wave)) // 2
        fitted[start : start + len(wave)] = np.clip(wave, -1, 1)
        return fitted * np.float32(self._how.scale)

    def size(self, prepared: Prepared) -> int:
        return 1

    def collate(self, batch: Sequence[Prepared], empty: Empty = np.empty) -> Feeds:
        return {self._input: stacked(batch, empty)}


def _centre(clip: Any, seconds: float, where: str) -> NDArray[np.float32]:
    """The mono mix of the middle `seconds` of the clip, at its own rate; all of a shorter clip.

    The rest is decoded too: this may be the first decoder that the clip has met.
    """
    wanted = math.ceil(seconds * clip.samplerate)
    start = max(0, (clip.frames - wanted) // 2)
    parts, at = [], 0
    for block in _blocks(clip, where):
        parts.append(block[max(0, start - at) : max(0, start + wanted - at)].mean(1))
        at += len(block)
    return np.concatenate(parts)


def _resample(wave: NDArray[np.float32], rate: int, target: int) -> NDArray[np.float32]:
    if rate == target:
        return wave
    import soxr

    resampled: NDArray[np.float32] = soxr.resample(wave, rate, target, quality="HQ")
    return resampled


MODALITY = AudioModality()
