"""Speech by espeak-ng, in voices of our own: formants, pitch, breath and roughness drawn at random.

espeak-ng is a program of its own (GPL-3.0); what it speaks is not covered by its licence.
"""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.errors import InvalidInput

RATE = 16_000
Wave = NDArray[np.float32]
PROGRAM = "espeak-ng"
_FRAME = RATE // 100
_QUIET = 10 ** (-38 / 20)  # of the loudest frame; below it a clip's ends are silence


@dataclass(frozen=True)
class Utterance:
    """One thing to be spoken. `speed` in words a minute, `pitch` 0 to 99 as espeak-ng counts it."""

    text: str
    voice: str
    variant: str
    speed: int
    pitch: int


def find() -> str:
    """The program's path. Raises InvalidInput (code `espeak_missing`)."""
    path = shutil.which(PROGRAM)
    if path is None:
        message = "espeak-ng is not installed. On Debian or Ubuntu: apt-get install espeak-ng"
        raise InvalidInput(message, code="espeak_missing")
    return path


def make_voices(folder: Path, count: int, seed: int) -> tuple[str, ...]:
    """Write `count` random voice variants into a data folder that otherwise links to espeak-ng's own.

    `folder` is then what `speak` takes as `data`.
    """
    original = _data_folder()
    data = folder / "espeak-ng-data"
    (data / "voices" / "!v").mkdir(parents=True)
    for entry in original.iterdir():
        if entry.name != "voices":
            (data / entry.name).symlink_to(entry)
    rng = np.random.default_rng(seed)
    names = tuple(f"durian{i}" for i in range(count))
    for name in names:
        (data / "voices" / "!v" / name).write_text(_variant(name, rng))
    return names


def _data_folder() -> Path:
    told = subprocess.run([find(), "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return Path(told.stdout.split("Data at:")[1].strip())


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


def speak(what: Utterance, data: Path) -> Wave:
    """The utterance at 16 kHz, its silent ends cut off, peak 0.9. Empty when espeak-ng says nothing."""
    command = [find(), f"--path={data}", "-v", f"{what.voice}+{what.variant}", "-s", str(what.speed)]
    command += ["-p", str(what.pitch), "-z", "--stdout", what.text]
    spoken = subprocess.run(command, capture_output=True, check=True)  # noqa: S603
    wave, rate = soundfile.read(io.BytesIO(_sized(spoken.stdout)), dtype="float32")
    return trim(soxr.resample(wave, rate, RATE))


def _sized(wav: bytes) -> bytes:
    """A streamed WAV does not know its length: write it into the header."""
    return wav[:40] + (len(wav) - 44).to_bytes(4, "little") + wav[44:]


def trim(wave: Wave) -> Wave:
    """Cut silence from both ends, in frames of 10 ms; scale the peak to 0.9."""
    frames = wave[: len(wave) // _FRAME * _FRAME].reshape(-1, _FRAME)
    if not frames.size or not np.abs(frames).max():
        return np.zeros(0, np.float32)
    level = np.sqrt((frames**2).mean(axis=1))
    loud = np.flatnonzero(level > level.max() * _QUIET)
    kept: Wave = wave[loud[0] * _FRAME : (loud[-1] + 1) * _FRAME]
    return kept * np.float32(0.9 / np.abs(kept).max())
