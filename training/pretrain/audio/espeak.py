"""Speech by espeak-ng, in voices of our own: formants, pitch, breath and roughness drawn at random.

espeak-ng (GPL-3.0) is loaded as a shared library while clips are made, and is no part of Durian; what it
speaks is not covered by its licence.
"""

from __future__ import annotations

import ctypes
import ctypes.util
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soxr
from numpy.typing import NDArray

from models.errors import InvalidInput

RATE = 16_000
Wave = NDArray[np.float32]
MAX_VOICES = 200  # espeak-ng's list of voices ends at 350, its own 132 included
_FRAME = RATE // 100
_QUIET = 10 ** (-38 / 20)  # of the loudest frame; below it a clip's ends are silence

# From espeak-ng's speak_lib.h.
_RETRIEVAL, _CHARACTERS, _UTF8, _PHONEMES, _IPA = 2, 1, 1, 0x100, 0x02
_SPEED, _PITCH = 1, 3
_Samples = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Utterance:
    """One thing to be spoken. `speed` in words a minute, `pitch` 0 to 99 as espeak-ng counts it."""

    text: str
    voice: str
    variant: str
    speed: int
    pitch: int


def library() -> ctypes.CDLL:
    """The shared library. Raises InvalidInput (code `espeak_missing`)."""
    name = ctypes.util.find_library("espeak-ng")
    if name is None:
        message = "espeak-ng is not installed. On Debian or Ubuntu: apt-get install espeak-ng"
        raise InvalidInput(message, code="espeak_missing")
    return ctypes.CDLL(name)


class Speaker:
    """espeak-ng with `count` random voices, `variants`. The library has one state: use one at a time."""

    def __init__(self, folder: Path, count: int, seed: int) -> None:
        self._library = library()
        self._library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        self.variants = _make_voices(folder, _data_folder(self._library), count, seed)
        self._rate = self._library.espeak_Initialize(_RETRIEVAL, 0, str(folder).encode(), 0)
        self._parts: list[NDArray[np.int16]] = []
        self._callback = _Samples(self._take)  # kept: the library only borrows it
        self._library.espeak_SetSynthCallback(self._callback)

    def _take(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: object) -> int:
        if samples and count > 0:
            self._parts.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, what: Utterance) -> Wave:
        """The utterance at 16 kHz, its silent ends cut off, peak 0.9. Empty when nothing is said."""
        self._use(f"{what.voice}+{what.variant}")
        self._library.espeak_SetParameter(_SPEED, what.speed, 0)
        self._library.espeak_SetParameter(_PITCH, what.pitch, 0)
        self._parts.clear()
        text = what.text.encode()
        flags = _UTF8 | _PHONEMES
        self._library.espeak_Synth(text, len(text) + 1, 0, _CHARACTERS, 0, flags, None, None)
        wave = np.concatenate([np.zeros(0, np.int16), *self._parts]).astype(np.float32) / 32768
        return trim(soxr.resample(wave, self._rate, RATE))

    def transcribe(self, text: str, voice: str) -> str:
        """`text` in the International Phonetic Alphabet, without marks of stress and length."""
        self._use(voice)
        pointer = ctypes.c_char_p(text.encode())
        told: bytes = self._library.espeak_TextToPhonemes(ctypes.byref(pointer), _UTF8, _IPA)
        return "".join(mark for mark in told.decode() if mark.isalpha() and mark not in "ˈˌː")

    def _use(self, voice: str) -> None:
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise InvalidInput(f"espeak-ng has no voice {voice}.", code="espeak_voice")


def _data_folder(espeak: ctypes.CDLL) -> Path:
    espeak.espeak_Info.restype = ctypes.c_char_p
    espeak.espeak_Initialize(_RETRIEVAL, 0, None, 0)
    found = ctypes.c_char_p()
    espeak.espeak_Info(ctypes.byref(found))  # no espeak_Terminate: a second one in a process never returns
    return Path((found.value or b"").decode())


def _make_voices(folder: Path, original: Path, count: int, seed: int) -> tuple[str, ...]:
    """Write `count` random voice variants into a data folder that otherwise links to espeak-ng's own."""
    data = folder / "espeak-ng-data"
    (data / "voices" / "!v").mkdir(parents=True)
    for entry in original.iterdir():
        if entry.name != "voices":
            (data / entry.name).symlink_to(entry)
    rng = np.random.default_rng(seed)
    names = tuple(f"durian{i}" for i in range(min(count, MAX_VOICES)))
    for name in names:
        (data / "voices" / "!v" / name).write_text(_variant(name, rng))
    return names


def _variant(name: str, rng: np.random.Generator) -> str:
    """A voice file: a vocal tract's length scales all formants, and each deviates a little more."""
    tract = rng.uniform(0.84, 1.22)
    base = rng.uniform(65, 130) if tract < 1 else rng.uniform(90, 240)
    lines = ["language variant", f"name {name}", f"pitch {base:.0f} {base * rng.uniform(1.1, 1.6):.0f}"]
    for formant in range(9):
        frequency = 100 * tract * rng.normal(1, 0.04)
        height, width = rng.uniform(75, 130), rng.uniform(75, 160)
        lines.append(f"formant {formant} {frequency:.0f} {height:.0f} {width:.0f}")
    lines.append(f"intonation {rng.integers(1, 5)}")
    lines.append(f"voicing {rng.uniform(60, 130):.0f}")
    lines.append(f"consonants {rng.uniform(60, 140):.0f} {rng.uniform(60, 140):.0f}")
    lines.append(f"flutter {rng.uniform(0, 4):.0f}")
    lines.append(f"roughness {rng.integers(0, 4)}")
    if rng.random() < 0.3:
        breaths = " ".join(f"{b:.0f}" for b in rng.uniform(0, 8, 8))
        lines.append(f"breath {breaths}")
    if rng.random() < 0.25:
        lines.append(f"klatt {rng.integers(1, 5)}")
    return "\n".join(lines) + "\n"


def trim(wave: Wave) -> Wave:
    """Cut silence from both ends, in frames of 10 ms; scale the peak to 0.9."""
    frames = wave[: len(wave) // _FRAME * _FRAME].reshape(-1, _FRAME)
    if not frames.size or not np.abs(frames).max():
        return np.zeros(0, np.float32)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(level > level.max() * _QUIET)
    kept: Wave = wave[loud[0] * _FRAME : (loud[-1] + 1) * _FRAME]
    return kept * np.float32(0.9 / np.abs(kept).max())
