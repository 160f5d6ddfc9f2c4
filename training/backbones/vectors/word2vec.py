"""word2vec's `.bin`: a line `words dimensions`, then each word, a space and D little-endian float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from training.backbones.vectors.table import Entry, Vectors, bad, collect

LONGEST_WORD = 1000
LARGEST_DIM = 10_000


def read(path: Path, most: int) -> Vectors:
    """The first `most` words; what follows them is not read. Raises InvalidInput naming the word's number."""
    with path.open("rb") as file:
        count, dim = _header(file)
        words, rows = collect(_entries(file, count, dim), most)
    return Vectors(words, rows, total=count)


def _header(file: BinaryIO) -> tuple[int, int]:
    fields = file.readline(100).split()
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        raise bad("line 1", "it is not `words dimensions`, so this is no word2vec or fastText file.")
    count, dim = map(int, fields)
    if not count or not 1 <= dim <= LARGEST_DIM:
        raise bad("line 1", f"a file has at least one word, and 1 to {LARGEST_DIM} dimensions.")
    return count, dim


def _entries(file: BinaryIO, count: int, dim: int) -> Iterator[Entry]:
    for number in range(1, count + 1):
        where = f"word {number} of {count}"
        word = _word(file, where)
        data = file.read(4 * dim)
        if len(data) < 4 * dim:
            raise bad(where, "the file ends here. Download or save it again.")
        yield where, word, np.frombuffer(data, "<f4").astype(np.float32)
    if file.read(2).strip():
        raise bad(f"word {count} of {count}", "more follows than the first line says.")


def _word(file: BinaryIO, where: str) -> bytes:
    """Bytes up to the next space; some writers put a line break before the word."""
    word = bytearray()
    while (byte := file.read(1)) != b" ":
        if not byte or len(word) > LONGEST_WORD:
            raise bad(where, "there is no end of the word. The file may be cut off or of another kind.")
        word += byte
    return bytes(word.lstrip(b"\n"))
