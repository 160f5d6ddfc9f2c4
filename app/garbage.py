"""Python's collector of garbage, kept off what lives as long as the process."""

from __future__ import annotations

import gc

_THRESHOLDS = 10_000, 20, 20
"""Python's own, 700 objects, is reached every few requests, while most of what there is belongs to others
that are under way."""


def set_aside() -> None:
    """Never look again at what is there now; to be called once a server has started.

    A full collection goes through everything: half a million objects of the framework, its routes and its
    schemas, which took 0.2 s every few seconds under load, and all threads stand still meanwhile. What is
    set aside is freed all the same when nothing refers to it, only not where it refers to itself.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
