"""Training clips, end to end in one array, and their cache on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.pretrain.audio import espeak, sounds
from training.pretrain.audio.espeak import RATE, Utterance, Wave
from training.pretrain.audio.words import Word, vocabulary

LONGEST = round(1.25 * RATE)  # of the stored clip; training may speak faster
SHORTEST = round(0.08 * RATE)


@dataclass(frozen=True)
class Clips:
    """`samples` int16: clip i is `samples[starts[i] : starts[i] + lengths[i]]`, of class `labels[i]`.

    `voiced` [n] tells speech from other sounds.
    """

    samples: NDArray[np.int16]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    labels: NDArray[np.int64]
    voiced: NDArray[np.bool_]

    @property
    def classes(self) -> int:
        return int(self.labels.max()) + 1

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Corpus:
    """How much to synthesise: pseudo-words, foreign words a language, clips a class, voices, sounds."""

    pseudo: int = 700
    foreign: int = 25
    clips: int = 24
    voices: int = 200
    sounds: int = sounds.CLASSES
    english: int | None = None

    @property
    def name(self) -> str:
        return f"{self.english or 'all'}-{self.pseudo}-{self.foreign}-{self.clips}-{self.voices}-{self.sounds}"


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
    words = vocabulary(corpus.pseudo, corpus.foreign, seed)
    words = words[: corpus.english] if corpus.english is not None else words
    made = [(wave, label, True) for wave, label in _speech(words, corpus, seed)] if words else []
    for kind in range(corpus.sounds):
        made += [(sounds.sound(kind, i, seed), len(words) + kind, False) for i in range(corpus.clips)]
    return gather(made)


def gather(made: Iterable[tuple[Wave, int, bool]]) -> Clips:
    """Put (wave, label, voiced) end to end; what is too short to be anything is left out."""
    kept = [(wave[:LONGEST], label, voiced) for wave, label, voiced in made if len(wave) >= SHORTEST]
    lengths = np.array([len(wave) for wave, _, _ in kept], np.int64)
    samples = np.concatenate([np.round(wave * 32767).astype(np.int16) for wave, _, _ in kept])
    labels = np.array([label for _, label, _ in kept], np.int64)
    voiced = np.array([voiced for _, _, voiced in kept])
    return Clips(samples, np.cumsum(lengths) - lengths, lengths, labels, voiced)


def _speech(words: tuple[Word, ...], corpus: Corpus, seed: int) -> Iterable[tuple[Wave, int]]:
    with tempfile.TemporaryDirectory() as folder:
        variants = espeak.make_voices(Path(folder), corpus.voices, seed)
        for label, word in enumerate(words):
            rng = np.random.default_rng([seed, label])
            for _ in range(corpus.clips):
                yield espeak.speak(_utterance(word, variants, rng), Path(folder)), label


def _utterance(word: Word, variants: tuple[str, ...], rng: np.random.Generator) -> Utterance:
    ending = rng.choice(["", "", "?", "!", ","])  # decides the melody
    return Utterance(
        text=f"{word.text}{ending}",
        voice=str(rng.choice(word.voices)),
        variant=str(rng.choice(variants)),
        speed=int(rng.integers(115, 235)),
        pitch=int(np.clip(rng.normal(50, 20), 5, 95)),
    )
