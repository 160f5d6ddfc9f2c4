"""What is spoken: English words, English-sounding pseudo-words, and pseudo-words of other languages.

The ten digit words are left out (and in `clips`, what sounds like one in any of its voices): spoken digits
are what the backbone is judged on, and the figure should be one of transfer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

DIGITS = frozenset(("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
ENGLISH = tuple(Path(__file__).with_name("words.txt").read_text().split())

_VOWELS = "a E I 0 V U i: u: A: O: 3: eI aI OI oU aU"
_ONSETS = (
    "p b t d k g f v T D s z S tS dZ m n l r w j h p b t d k f s m n l r "
    "pl bl kl gl pr br tr dr kr gr fl fr Tr sp st sk sl sm sn sw str kw"
)
_CODAS = "p t k b d g f v T s z S tS dZ m n N l nt nd st ks lt mp Nk ts"

_CONSONANTS = {
    "de": "b d f g h k l m n p r s t w z sch st tr br",
    "fr": "b d f g j l m n p r s t v ch br tr gr",
    "es": "b d f g j l m n p r s t v ch rr ll br tr",
    "it": "b d f g l m n p r s t v z gl gn br tr",
    "pl": "b d g k l m n p r s t w z cz sz ch rz",
    "fi": "h j k l m n p r s t v kk tt ll",
    "tr": "b c d g k l m n p r s t v y z ş ç",
    "sv": "b d f g h k l m n p r s t v sj tr",
    "cs": "b d h k l m n p r s t v z č š ř",
    "hu": "b d f g h k l m n p r t v z sz cs gy",
    "pt": "b d f g j l m n p r s t v nh lh",
    "sw": "b d f g h j k l m n p r s t w z ny sh",
}
_NATIVE_VOWELS = {
    "de": "a e i o u ä ö ü ei au",
    "fr": "a e i o u é è ou an on in eu",
    "fi": "a e i o u y ä ö aa ii uo",
    "tr": "a e ı i o ö u ü",
    "sv": "a e i o u y å ä ö",
    "cs": "a e i o u á í é ou",
    "hu": "a e i o u á é ö ü ő",
    "pt": "a e i o u ã ão é ó",
}
ENGLISH_VOICES = ("en-us", "en", "en-gb-scotland", "en-gb-x-rp", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029")
FOREIGN_ACCENTS = ("fr", "de", "hi", "nl", "sv")
"""Languages whose voices know most English phonemes, and so can speak English with an accent."""


@dataclass(frozen=True)
class Word:
    """A class of speech: `text` in espeak-ng's spelling (`[[...]]` are phonemes), and who may speak it."""

    text: str
    voices: tuple[str, ...]


def vocabulary(pseudo: int, foreign: int, seed: int) -> tuple[Word, ...]:
    """All of `ENGLISH`, `pseudo` English pseudo-words, and `foreign` pseudo-words of each other language."""
    rng = np.random.default_rng(seed)
    english = [Word(text, ENGLISH_VOICES) for text in ENGLISH]
    made = _distinct(pseudo, lambda: _phonemes(rng))
    accents = (*ENGLISH_VOICES, *FOREIGN_ACCENTS)
    spoken = [Word(f"[[{sounds}]]", accents) for sounds in made]
    others = [
        Word(text, (language,))
        for language in _CONSONANTS
        for text in _distinct(foreign, lambda language=language: _spelling(language, rng))  # type: ignore[misc]
    ]
    return (*english, *spoken, *others)


def _distinct(count: int, draw: Callable[[], str]) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        found[draw()] = None
    return list(found)


def _phonemes(rng: np.random.Generator) -> str:
    """One to three syllables in espeak-ng's mnemonics, one of them stressed."""
    syllables = int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))
    stressed = int(rng.integers(syllables))
    return "".join(_syllable(rng, i == stressed, i == syllables - 1) for i in range(syllables))


def _syllable(rng: np.random.Generator, stressed: bool, last: bool) -> str:
    onset = rng.choice([*_ONSETS.split(), ""]) if rng.random() < 0.9 else ""
    vowel = f"'{rng.choice(_VOWELS.split())}" if stressed else rng.choice(["@", "I", "i:", "oU", "a", "u:"])
    coda = rng.choice(["", "", "", "", *_CODAS.split()]) if last else rng.choice(["", "", "n", "l", "s", "m"])
    return f"{onset}{vowel}{coda}"


def _spelling(language: str, rng: np.random.Generator) -> str:
    consonants = _CONSONANTS[language].split()
    vowels = _NATIVE_VOWELS.get(language, "a e i o u").split()
    syllables = rng.integers(1, 4)
    body = "".join(f"{rng.choice(consonants)}{rng.choice(vowels)}" for _ in range(syllables))
    return body + str(rng.choice(["", "n", "s", "l", "r", "t"]))
