"""What is spoken: English words, English-sounding pseudo-words, and pseudo-words of other languages.

The ten digit words, and words that sound like them, are left out: spoken digits are what the backbone is
judged on, and the figure should be one of transfer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

DIGITS = frozenset("zero one two three four five six seven eight nine".split())
_DIGIT_SOUNDS = frozenset("zi@roU wVn tu: Tri: fo@ fO: fO:r faIv sIks sEv@n sEvEn eIt naIn".split())

ENGLISH = tuple(
    """
    about above accept across action after again agree alarm album alone amber anchor angle animal answer
    apple april arrow artist asking autumn awake baby badge bacon balance ball banana bank barrel basket
    battery beach beautiful because bed before begin behind bell below bench better between bicycle bird
    black blanket blue board boat body book border bottle bottom bowl box branch brave bread bridge bright
    brother brown brush bucket building burn business butter button buy cabin cake calendar call camera
    candle captain car carpet carry castle cat center chain chair change cheap cheese cherry chicken child
    church circle city class clean clear clock close cloth cloud coat coffee cold color come computer cook
    cool copper corner cotton cousin cover cow cross crowd cup curtain cut dance danger dark daughter day
    december deep desk dinner doctor dog dollar door double down dozen dragon draw dream dress drink drive
    drum dust eagle ear early earth east easy egg elbow electric empty engine enjoy enough enter evening
    every exit eye face fall family farm fast father feather february fence fever field finger finish fire
    first fish flag flat floor flower fly fog follow foot forest forget fork forward fox free fresh friday
    friend frog front fruit full funny garden gate gentle ghost giant ginger give glass glove go gold good
    grape grass green ground group guitar hair hammer hand happy harbor hard hat head heart heavy hello help
    high hill history hold holiday honey horse hospital hot hotel house hungry ice idea inside iron island
    jacket january job join journey juice july jump june jungle keep kettle key king kiss kitchen kite knee
    knife ladder lake lamp language large last laugh leaf learn leather left lemon letter library light lion
    listen little long look lucky lunch machine magic many map march market marvin mask meadow meal measure
    meat medicine melon metal middle milk minute mirror mix monday money monkey month moon morning mother
    mountain mouse mouth move music nail name narrow nation near neck needle never new night no noise north
    nose november nurse ocean october off office oil old olive on onion open orange outside oven over page
    paint paper parent park party pencil people pepper person phone piano picture pillow pilot pink pipe
    place planet plate play please pocket poem police potato pretty price prince print problem purple push
    queen question quick quiet rabbit radio rain read ready red rice right ring river road robot rocket roof
    room rope rose round rubber sad salad salt sand saturday school science scissors screen sea second
    september shadow shape sheep sheila ship shirt shoe shop short shoulder shower silent silver simple sing
    sister skin sky sleep slow small smile smoke snake snow soap soft soldier song soup south space spoon
    spring square stairs start station stone stop story storm street strong sugar summer sun sunday sweet
    swim table tail tall teacher telephone temple thank theater thing thirsty thumb thunder thursday ticket
    tiger time tired today together tomato tomorrow tongue tooth tower town toy traffic train tree trouble
    trousers tuesday turn uncle under up valley vegetable very village violin visit voice wagon wait walk
    wall warm wash water weather wednesday week welcome west wheel white whole wide wild wind window winter
    wolf woman wonder wood word work world write wrong yard year yellow yes yesterday young zebra
    """.split()
)

_VOWELS = "a E I 0 V U i: u: A: O: 3: eI aI OI oU aU".split()
_ONSETS = (
    "p b t d k g f v T D s z S tS dZ m n l r w j h p b t d k f s m n l r "
    "pl bl kl gl pr br tr dr kr gr fl fr Tr sp st sk sl sm sn sw str kw"
).split()
_CODAS = ["", "", "", "", *"p t k b d g f v T s z S tS dZ m n N l nt nd st ks lt mp Nk ts".split()]

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
    """One to three syllables in espeak-ng's mnemonics, one of them stressed; never a digit's sounds."""
    while True:
        syllables = int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))
        stressed = int(rng.integers(syllables))
        parts = [_syllable(rng, i == stressed, i == syllables - 1) for i in range(syllables)]
        sounds = "".join(parts)
        if sounds.replace("'", "") not in _DIGIT_SOUNDS:
            return sounds


def _syllable(rng: np.random.Generator, stressed: bool, last: bool) -> str:
    onset = rng.choice([*_ONSETS, ""]) if rng.random() < 0.9 else ""
    vowel = f"'{rng.choice(_VOWELS)}" if stressed else rng.choice(["@", "I", "i:", "oU", "a", "u:"])
    coda = rng.choice(_CODAS) if last else rng.choice(["", "", "n", "l", "s", "m"])
    return f"{onset}{vowel}{coda}"


def _spelling(language: str, rng: np.random.Generator) -> str:
    consonants = _CONSONANTS[language].split()
    vowels = _NATIVE_VOWELS.get(language, "a e i o u").split()
    syllables = rng.integers(1, 4)
    body = "".join(f"{rng.choice(consonants)}{rng.choice(vowels)}" for _ in range(syllables))
    return body + str(rng.choice(["", "n", "s", "l", "r", "t"]))
