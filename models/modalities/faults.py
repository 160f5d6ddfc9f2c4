"""How the input side speaks of what is wrong: always with the place it is in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import DurianError, InvalidInput


def fault(where: str, problem: str, code: str, kind: type[DurianError] = InvalidInput) -> DurianError:
    """An error about one row or field: `where` leads the message and is its `param`."""
    return kind(f"{where}: {problem}", code=code, param=where)


@contextmanager
def decoding(where: str, remedy: str) -> Iterator[None]:
    """Turn whatever a third-party decoder raises into InvalidInput `undecodable`.

    Mutated files make the decoders raise a dozen exception types, so all of them are caught here.
    """
    try:
        yield
    except DurianError:
        raise
    except Exception:
        raise fault(
            where, f"the content is corrupt, truncated or mislabelled. {remedy}", "undecodable"
        ) from None
