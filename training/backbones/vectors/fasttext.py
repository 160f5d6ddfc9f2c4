"""fastText's `.bin` (version 11 or 12, neither quantised nor pruned), with its n-gram rows.

Layout, little-endian: magic and version; twelve int32 and one double of arguments; sizes of the
dictionary; its entries (word, NUL, int64 count, int8 kind); a flag; the input matrix (int64 rows and
columns, then float32). A word's vector is the mean of its own row and those of its n-grams
(Bojanowski et al. 2017). The rest (the output matrix) is not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from models.modalities.subwords import ngrams
from training.backbones.vectors.table import Entry, Ngrams, Vectors, bad, collect, relative

MAGIC = struct.pack("<i", 793712314)
SUPERVISED = 3
LONGEST_WORD = 10_000
END = b"</s>"


@dataclass(frozen=True)
class Arguments:
    dim: int
    buckets: int
    shortest: int
    longest: int


def read(path: Path, most: int) -> Vectors:
    """The `most` most frequent words and all n-gram rows. Raises InvalidInput."""
    with path.open("rb") as file:
        how = _arguments(file)
        entries = _dictionary(file)
        matrix = _matrix(file, path, how, len(entries))
    words, rows = collect(_vectors(entries, matrix, how), most)
    counts = {word.decode(errors="replace"): count for word, count in entries}
    grams = (
        Ngrams(how.shortest, how.longest, matrix[len(entries) :])
        if _has_ngrams(how, matrix, entries)
        else None
    )
    return Vectors(words, rows, relative(words, counts), grams, len(entries))


def _has_ngrams(how: Arguments, matrix: NDArray[np.float32], entries: list[tuple[bytes, int]]) -> bool:
    return how.longest > 0 and len(matrix) > len(entries)


def _take(file: BinaryIO, layout: str) -> tuple[Any, ...]:
    data = file.read(struct.calcsize(layout))
    if len(data) < struct.calcsize(layout):
        raise bad("fastText file", "it ends too early. Download or save it again.")
    return struct.unpack(layout, data)


def _arguments(file: BinaryIO) -> Arguments:
    magic, version = _take(file, "<4si")
    if magic != MAGIC or version not in (11, 12):
        raise bad("fastText file", "its version is neither 11 nor 12. Save it with a recent fastText.")
    dim, _, _, _, _, _, _, model, buckets, shortest, longest, _, _ = _take(file, "<12id")
    if dim < 1 or buckets < 0:
        raise bad("fastText file", "its dimensions or buckets are no positive number.")
    if version == 11 and model == SUPERVISED:
        longest = 0  # that version's classifiers had no n-grams, whatever the file says
    return Arguments(dim, buckets, max(1, shortest), longest)


def _dictionary(file: BinaryIO) -> list[tuple[bytes, int]]:
    """Words with their counts, in order of their rows; labels of a classifier are left out."""
    size, count, labels, _, pruned = _take(file, "<3i2q")
    if pruned > 0 or min(size, count, labels) < 0 or size != count + labels:
        raise bad("fastText file", "it is pruned, or its dictionary does not add up. Use the full .bin.")
    entries = []
    for number in range(1, size + 1):
        word = _word(file, f"word {number} of {size}")
        times, kind = _take(file, "<qb")
        if (kind == 0) != (number <= count):
            raise bad(f"word {number} of {size}", "a word stands among the labels, or a label among words.")
        if kind == 0:
            entries.append((word, times))
    return entries


def _word(file: BinaryIO, where: str) -> bytes:
    word = bytearray()
    while (byte := file.read(1)) != b"\0":
        if not byte or len(word) > LONGEST_WORD:
            raise bad(where, "there is no end of the word. The file may be cut off.")
        word += byte
    return bytes(word)


def _matrix(file: BinaryIO, path: Path, how: Arguments, words: int) -> NDArray[np.float32]:
    """The input matrix, mapped, not read."""
    (quantised,) = _take(file, "<?")
    if quantised:
        raise bad("fastText file", "it is quantised (.ftz). Use the full .bin.")
    rows, columns = _take(file, "<2q")
    if columns != how.dim or rows not in (words, words + how.buckets):
        raise bad("fastText file", "its matrix has another shape than its arguments and dictionary say.")
    if path.stat().st_size - file.tell() < rows * columns * 4:
        raise bad("fastText file", "it ends within the matrix. Download or save it again.")
    return np.memmap(path, "<f4", "r", offset=file.tell(), shape=(rows, columns))


def _vectors(
    entries: list[tuple[bytes, int]], matrix: NDArray[np.float32], how: Arguments
) -> Iterator[Entry]:
    words = len(entries)
    hashed = _has_ngrams(how, matrix, entries)
    for index, (word, _) in enumerate(entries):
        rows = [index]
        if hashed and word != END:
            hashes = ngrams(word.decode(errors="replace"), how.shortest, how.longest)
            rows += [words + value % how.buckets for value in hashes]
        yield f"word {index + 1} of {words}", word, np.mean(matrix[rows], axis=0, dtype=np.float32)
