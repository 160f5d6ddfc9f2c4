"""Training clips, end to end in one array, and their cache on disk."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.pretrain.audio import espeak, sounds
from training.pretrain.audio.espeak import RATE, Utterance, Wave
from training.pretrain.audio.words import DIGITS, ENGLISH_VOICES, Word, vocabulary

LONGEST = round(1.25 * RATE)  # of the stored clip; training may speak faster
SHORTEST = round(0.08 * RATE)
COMMON = 12  # words that must share a unit of speech for it to be taught


@dataclass(frozen=True)
class Clips:
    """`samples` int16: clip i is `samples[starts[i] : starts[i] + lengths[i]]`, of class `labels[i]`.

    `units` bool [classes, u]: which sounds of speech a class has, and which come first and last; all
    false for what is not speech.
    """

    samples: NDArray[np.int16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    units: NDArray[np.bool_]

    @property
    def classes(self) -> int:
        return len(self.units)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Corpus:
    """How much to synthesise: pseudo-words, foreign words a language, clips a class, voices, sounds.

    `words`: take only the first so many of all words.
    """

    pseudo: int = 700
    foreign: int = 25
    clips: int = 24
    voices: int = 200
    sounds: int = sounds.CLASSES
    words: int | None = None

    @property
    def name(self) -> str:
        return "-".join(str(value) for value in vars(self).values())


def load(corpus: Corpus, seed: int, cache: Path) -> Clips:
    """The corpus from the cache, synthesised first where it is not there."""
    file = cache / f"audio-{corpus.name}-{seed}.npz"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = build(corpus, seed)
        partial = file.with_suffix(".partial.npz")
        np.savez(partial, **vars(made))
        partial.rename(file)
    with np.load(file, allow_pickle=False) as arrays:
        return Clips(**{name: arrays[name] for name in arrays.files})


def build(corpus: Corpus, seed: int) -> Clips:
    """Synthesise everything. Equal arguments (and one version of espeak-ng) give equal clips."""
    words = vocabulary(corpus.pseudo, corpus.foreign, seed)[: corpus.words]
    spoken, transcripts = _speech(words, corpus, seed) if words else ([], [])
    heard = [
        (sounds.sound(kind, number, seed), len(transcripts) + kind)
        for kind in range(corpus.sounds)
        for number in range(corpus.clips)
    ]
    return gather(spoken + heard, units([*transcripts, *[""] * corpus.sounds]))


def gather(made: Sequence[tuple[Wave, int]], marks: NDArray[np.bool_]) -> Clips:
    """Put (wave, label) end to end; what is too short to be anything is left out."""
    kept = [(wave[:LONGEST], label) for wave, label in made if len(wave) >= SHORTEST]
    lengths = np.array([len(wave) for wave, _ in kept], np.int64)
    samples = np.concatenate([np.round(wave * 32767).astype(np.int16) for wave, _ in kept])
    labels = np.array([label for _, label in kept], np.int64)
    return Clips(samples, np.cumsum(lengths) - lengths, lengths, labels, marks)


def units(transcripts: Sequence[str]) -> NDArray[np.bool_]:
    """Marks [transcripts, u] of what each contains, starts with and ends with; rare ones are left out."""
    has = [{*text, f"^{text[:1]}", f"{text[-1:]}$"} if text else set() for text in transcripts]
    counts = Counter(unit for found in has for unit in found)
    names = sorted(unit for unit, count in counts.items() if count >= COMMON)
    return np.array([[unit in found for unit in names] for found in has], bool).reshape(len(has), len(names))


def _speech(words: Sequence[Word], corpus: Corpus, seed: int) -> tuple[list[tuple[Wave, int]], list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        speaker = espeak.Speaker(Path(folder), corpus.voices, seed)
        words = unlike_digits(words, speaker.transcribe)
        transcripts = [speaker.transcribe(word.text, word.voices[0]) for word in words]
        made = []
        for label, word in enumerate(words):
            rng = np.random.default_rng([seed, label])
            drawn = [_utterance(word, speaker.variants, rng) for _ in range(corpus.clips)]
            made += [(speaker.speak(utterance), label) for utterance in drawn]
    return made, transcripts


def unlike_digits(words: Sequence[Word], transcribe: Callable[[str, str], str]) -> list[Word]:
    """The words that none of their voices pronounces as any English voice does a digit."""
    digits = {transcribe(digit, voice) for digit in DIGITS for voice in ENGLISH_VOICES}
    return [word for word in words if not digits & {transcribe(word.text, voice) for voice in word.voices}]


def _utterance(word: Word, variants: tuple[str, ...], rng: np.random.Generator) -> Utterance:
    ending = rng.choice(["", "", "?", "!", ","])  # decides the melody
    return Utterance(
        text=f"{word.text}{ending}",
        voice=str(rng.choice(word.voices)),
        variant=str(rng.choice(variants)),
        speed=int(rng.integers(115, 235)),
        pitch=int(np.clip(rng.normal(50, 20), 5, 95)),
    )
