"""A file of word counts: one line a word, the word and its count, separated by white space."""

from __future__ import annotations

from pathlib import Path

from models.errors import InvalidInput


def read(path: Path) -> dict[str, int]:
    """Word -> count. Raises InvalidInput naming the line."""
    counts: dict[str, int] = {}
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            fields = line.split()
            if len(fields) != 2 or not fields[1].isdigit():
                raise _bad(number, "it is not a word and its count, a whole number.")
            word = fields[0].decode(errors="replace")
            if word in counts:
                raise _bad(number, "the word stands in the file twice. Add its counts up.")
            counts[word] = int(fields[1])
    if not sum(counts.values()):
        raise InvalidInput("The file of frequencies counts no word.", code="frequencies", param="frequencies")
    return counts


def _bad(number: int, problem: str) -> InvalidInput:
    return InvalidInput(f"line {number}: {problem}", code="frequencies", param="frequencies")
