"""Features for training: from the cache, and what is missing there from the backbone itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.backbone import read_card, split_tap
from models.dataset import Pack
from models.errors import JobFailed
from models.features import FeatureCache
from models.fitspec import BackboneChoice
from models.runtime import Backbone

_CHUNK = 64
Done = Callable[[int, int], None]
"""Called with (computed so far, to compute)."""

Compute = Callable[[Sequence[bytes]], NDArray[np.float32]]
"""Canonical inputs -> float32 [n, dim]."""


class FeatureSource:
    """Reads through one cache; a backbone is loaded only when something is missing."""

    def __init__(self, cache: FeatureCache, threads: int) -> None:
        self.cache = cache
        self.threads = threads

    def features(self, choice: BackboneChoice, pack: Pack, done: Done) -> dict[str, NDArray[np.float32]]:
        """float32 [len(pack), dim] of each of the choice's taps.

        Raises JobFailed (`backbone_changed`, `non_finite`).
        """
        found = self.cache.get_taps(choice.digest, choice.taps, pack.digests)
        wanted = {digest for known in found.values() for digest in pack.digests if digest not in known}
        if wanted:
            self._compute(choice, pack, wanted, done)
            found = self.cache.get_taps(choice.digest, choice.taps, pack.digests)
        return {tap: _stacked(choice, known, pack.digests) for tap, known in found.items()}

    def fresh(self, choice: BackboneChoice, tap: str, contents: Sequence[bytes]) -> NDArray[np.float32]:
        """float32 [len(contents), dim] of inputs that are made up on the way, and so not kept.

        Raises JobFailed (`backbone_changed`).
        """
        return _load(choice, self.threads).embed(contents, [tap])[tap]

    def through(self, digest: str, place: str, pack: Pack, compute: Compute) -> NDArray[np.float32]:
        """float32 [len(pack), dim] of what is no backbone, kept under its digest and that place."""
        missing = set(self.cache.missing(digest, place, pack.digests))
        rows = {name: row for row, name in enumerate(pack.digests) if name in missing}
        if rows:
            vectors = compute([pack.contents[row] for row in rows.values()])
            self.cache.put(digest, place, list(rows), vectors)
        found = self.cache.get(digest, place, pack.digests)
        return np.stack([found[name] for name in pack.digests])

    def _compute(self, choice: BackboneChoice, pack: Pack, wanted: Collection[str], done: Done) -> None:
        taps = list(dict.fromkeys(part for tap in choice.taps for part in split_tap(tap)))
        rows = {digest: row for row, digest in enumerate(pack.digests)}
        missing = [digest for digest in rows if digest in wanted]
        backbone = _load(choice, self.threads)
        for start in range(0, len(missing), _CHUNK):
            done(start, len(missing))
            digests = missing[start : start + _CHUNK]
            found = backbone.embed([pack.contents[rows[digest]] for digest in digests], taps)
            for tap, vectors in found.items():
                self.cache.put(choice.digest, tap, digests, vectors)


def _load(choice: BackboneChoice, threads: int) -> Backbone:
    folder = Path(choice.folder)
    if read_card(folder).digest != choice.digest:
        raise JobFailed(f"The backbone {choice.id} changed since the job was made.", code="backbone_changed")
    return Backbone(folder, threads=threads)


def _stacked(
    choice: BackboneChoice, found: Mapping[str, NDArray[np.float32]], digests: Sequence[str]
) -> NDArray[np.float32]:
    features = np.stack([found[digest] for digest in digests])
    if not np.isfinite(features).all():
        row = int(np.flatnonzero(~np.isfinite(features).all(axis=1))[0]) + 1
        raise JobFailed(
            f"{choice.id} gives features that are not finite for example {row}; remove or repair it.",
            code="non_finite",
        )
    return features
