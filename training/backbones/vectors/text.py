"""Text: word2vec's `.txt` and fastText's `.vec` (first line: words, dimensions), GloVe's (no such line).

One line a word: the word, then its values, separated by single spaces.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.backbones.vectors.table import Entry, Vectors, bad, collect

LONGEST_LINE = 1 << 20


def read(path: Path, most: int) -> Vectors:
    """The first `most` words; what follows them is not read. Raises InvalidInput naming the line."""
    with path.open("rb") as file:
        first = file.readline(LONGEST_LINE)
        header = _header(first)
        if header is None:
            file.seek(0)
        dim = header[1] if header else len(_fields(first)) - 1
        words, rows = collect(_entries(file, dim, header), most)
        rest = 0 if header or len(words) < most else sum(1 for line in file if line.strip())
    return Vectors(words, rows, total=header[0] if header else len(words) + rest)


def _header(line: bytes) -> tuple[int, int] | None:
    """Words and dimensions where the line is two whole numbers."""
    fields = _fields(line)
    if len(fields) != 2 or not all(field.isdigit() for field in fields):
        return None
    words, dim = map(int, fields)
    if not words or not dim:
        raise bad("line 1", "the number of words or of dimensions is 0.")
    return words, dim


def _entries(file: BinaryIO, dim: int, header: tuple[int, int] | None) -> Iterator[Entry]:
    number = 1 if header else 0
    found = 0
    while line := file.readline(LONGEST_LINE):
        number += 1
        where = f"line {number}"
        if header and found == header[0]:
            if line.strip():
                raise bad(where, f"line 1 says {header[0]} words, but more follow.")
            continue
        yield _entry(line, dim, where)
        found += 1
    if header and found < header[0]:
        raise bad(f"line {number}", f"the file ends after {found} words, line 1 says {header[0]}.")


def _entry(line: bytes, dim: int, where: str) -> Entry:
    fields = _fields(line)
    word, values = fields[:-dim], fields[-dim:]
    # GloVe has a few words with spaces; a number among them is a value too many.
    if dim < 1 or not word or any(_is_number(part) for part in word[1:]):
        raise bad(where, f"there are {max(0, len(fields) - 1)} values, not {dim}. The file may be cut off.")
    return where, b" ".join(word), _values(values, where)


def _fields(line: bytes) -> list[bytes]:
    return line.rstrip(b" \r\n").split(b" ") if line.strip() else []


def _values(fields: list[bytes], where: str) -> NDArray[np.float32]:
    try:
        values = np.array([float(field) for field in fields])
    except ValueError:
        raise bad(where, "a value is no number. Values are separated by single spaces.") from None
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as such
        return values.astype(np.float32)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True
