"""How the input side speaks of what is wrong: always with the place it is in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from models.errors import DurianError, InvalidInput, TooLarge


def fault(where: str, problem: str, code: str, kind: type[DurianError] = InvalidInput) -> DurianError:
    """An error about one row or field: `where` leads the message and is its `param`."""
    return kind(f"{where}: {problem}", code=code, param=where)


def out_of_memory(where: str) -> DurianError:
    """TooLarge `decode_memory`: what a small file may ask of a decoder has a limit."""
    problem = "decoding this takes more memory than an upload may. Split it, or export it again."
    return fault(where, problem, "decode_memory", TooLarge)


def _ignore(_where: str) -> None:
    """Nobody watches."""


class _Watch:
    told: Callable[[str], None] = staticmethod(_ignore)


def watch(told: Callable[[str], None]) -> None:
    """Have `told` called, in this process, with the place of each input just before its decoder sees it.

    A process that decodes for another says so where it is, should the decoder be its end.
    """
    _Watch.told = staticmethod(told)


@contextmanager
def decoding(where: str, remedy: str) -> Iterator[None]:
    """Turn whatever a third-party decoder raises into InvalidInput `undecodable`.

    Mutated files make the decoders raise a dozen exception types, so all of them are caught here.
    """
    _Watch.told(where)
    try:
        yield
    except DurianError:
        raise
    except MemoryError:
        raise out_of_memory(where) from None
    except Exception:
        raise fault(
            where, f"the content is corrupt, truncated or mislabelled. {remedy}", "undecodable"
        ) from None
