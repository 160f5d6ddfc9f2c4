"""Words of no vocabulary by their character n-grams, as fastText does (Bojanowski et al. 2017).

An n-gram's row is found by a 32-bit FNV-1a hash, in which fastText takes bytes as signed: those of 128
and more also flip the upper 24 bits.
"""

from __future__ import annotations

from collections.abc import Iterable

from models.backbone import Subwords

LONGEST_WORD = 64
_BASIS, _PRIME, _MASK, _SIGN = 2166136261, 16777619, 0xFFFFFFFF, 0xFFFFFF00


def fnv(data: bytes, state: int = _BASIS) -> int:
    """fastText's hash of `data`, or of what `state` stands for followed by `data`."""
    for byte in data:
        state = ((state ^ (byte | _SIGN if byte > 127 else byte)) * _PRIME) & _MASK
    return state


def ngrams(word: str, shortest: int, longest: int) -> list[int]:
    """Hashes of the n-grams of `<word>` of `shortest` to `longest` characters; `<` and `>` alone are none."""
    characters = [character.encode() for character in f"<{word}>"]
    hashes = []
    for start in range(len(characters)):
        state = _BASIS
        for end in range(start + 1, min(start + longest, len(characters)) + 1):
            state = fnv(characters[end - 1], state)
            edge = end - start == 1 and (start == 0 or end == len(characters))
            if end - start >= shortest and not edge:
                hashes.append(state)
    return hashes


def rows_of(word: str, how: Subwords) -> list[int]:
    """Rows of a word's n-grams in the vector table; none for a word longer than `LONGEST_WORD`."""
    if len(word) > LONGEST_WORD:
        return []
    return [how.first + value % how.buckets for value in ngrams(word, how.shortest, how.longest)]


def expand(words: Iterable[tuple[int, str]], how: Subwords, most: int) -> list[int]:
    """Ids of (id, spelling) pairs, unknown words (id 0) replaced by their n-grams; at most `most` ids.

    Each of n pieces of one word has the id `row + (n - 1) * rows`: the graph reads both from it, and
    gives every piece the n-th part of a word's weight. A word that does not fit whole ends the text.
    """
    ids: list[int] = []
    for id, spelling in words:
        rows = [id] if id else rows_of(spelling, how) or [0]
        if len(ids) + len(rows) > most:
            break
        ids += [row + (len(rows) - 1) * how.rows for row in rows]
    return ids
