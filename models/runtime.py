"""A backbone in memory: the one way in which features are computed, for training and for serving."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.backbone import GRAPH, BackboneCard, read_card, split_tap
from models.cut import INPUT, cut
from models.graphs import prune
from models.modalities import preprocessor
from models.modalities.base import Empty, Prepared
from models.session import CPU, open_session
from models.store import verify_files

__all__ = ["CPU", "Backbone", "Features", "expected_bytes", "open_session"]

_LARGE_GRAPH = 32 * 1024 * 1024
_TOKENIZER_FACTOR = 16
"""Bytes in memory for one of a tokenizer's file: 13 to 18 were measured for word and word-piece ones."""
_WHOLE: tuple[str, ...] = ()
Features = NDArray[np.float32]


def expected_bytes(folder: Path, card: BackboneCard) -> int:
    """What `Backbone.nbytes` will be for this folder, from the sizes of its files; 0 if it is incomplete."""
    try:
        sizes = {name: (folder / name).stat().st_size for name in card.files}
    except FileNotFoundError:
        return 0
    return _beside_the_graph(sizes) + sizes[GRAPH]


def _beside_the_graph(sizes: Mapping[str, int]) -> int:
    return _TOKENIZER_FACTOR * sum(size for name, size in sizes.items() if name != GRAPH)


class Backbone:
    """A loaded backbone. `run` may be called from several threads at once.

    `nbytes` is the memory its weights and tables take: a session takes what its graph has, measured to
    1 %. The working memory of batches comes on top (docs/adr/0004).
    """

    def __init__(self, folder: Path, *, threads: int = 1, providers: Sequence[str] = CPU):
        self.folder = folder
        self.card: BackboneCard = read_card(folder)
        files = verify_files(folder, self.card.files)
        self.preprocessor = preprocessor(self.card, files)
        self._open = partial(open_session, threads=threads, providers=providers)
        self._large = len(files[GRAPH]) > _LARGE_GRAPH
        self._lock = threading.Lock()
        self._sessions: dict[tuple[str, ...], Any] = {}
        self._trunks: dict[str, Any] = {}
        self.nbytes = _beside_the_graph({name: len(data) for name, data in files.items()})
        self.session = self._load(self._key((self.card.default_tap,)), files[GRAPH])

    def run(
        self, batch: Sequence[Prepared], taps: Sequence[str], empty: Empty = np.empty
    ) -> dict[str, Features]:
        """Pooled features `[len(batch), dim]` of each tap; a joined tap's are those of its parts in a row.

        A graph that ends at the taps asked for is made on first use: nothing above them is computed. The
        batch is put together in arrays that `empty` gives.
        """
        names = list(dict.fromkeys(part for tap in taps for part in split_tap(tap)))
        outputs = self._session(names).run(names, self.preprocessor.collate(batch, empty))
        found = dict(zip(names, outputs, strict=True))
        return {tap: _joined([found[part] for part in split_tap(tap)]) for tap in dict.fromkeys(taps)}

    def edges(self, batch: Sequence[Prepared], tap: str, empty: Empty = np.empty) -> dict[str, NDArray[Any]]:
        """What a tail that begins at `tap` is fed: the edges of the cut (`models.cut`), each [N, ...]."""
        feeds = self.preprocessor.collate(batch, empty)
        if tap == INPUT:
            return dict(feeds)
        session = self._trunks.get(tap) or self._cut(tap)
        taken = {name: feeds[name] for name in (value.name for value in session.get_inputs())}
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, session.run(names, taken), strict=True))

    def blank(self) -> Prepared | None:
        """A prepared example of zeros, where the graph says the shape and type of one; else None."""
        (taken, *others) = self.session.get_inputs()
        shape = taken.shape[1:]
        kind = taken.type.removeprefix("tensor(").removesuffix(")")
        if others or not all(isinstance(size, int) for size in shape):
            return None
        return np.zeros(shape, "float32" if kind == "float" else kind)

    def _cut(self, tap: str) -> Any:
        """The trunk below the cut, made on first use: it takes seconds for a large graph."""
        with self._lock:
            if tap not in self._trunks:
                graph = verify_files(self.folder, self.card.files)[GRAPH]
                trunk = cut(graph, tap, self.card.default_tap).trunk
                self._trunks[tap] = self._open(trunk)
                self.nbytes += len(trunk)
            return self._trunks[tap]

    def _key(self, taps: Sequence[str]) -> tuple[str, ...]:
        # Pooling lower taps beside the top one costs a few per cent; a second copy of a large graph's
        # weights would cost more than that.
        return _WHOLE if self._large and self.card.default_tap in taps else tuple(sorted(set(taps)))

    def _session(self, taps: Sequence[str]) -> Any:
        key = self._key(taps)
        session = self._sessions.get(key)
        if session is None:
            with self._lock:
                session = self._sessions.get(key) or self._load(key)
        return session

    def _load(self, key: tuple[str, ...], graph: bytes | None = None) -> Any:
        graph = graph or verify_files(self.folder, self.card.files)[GRAPH]
        graph = graph if key == _WHOLE else prune(graph, key)
        session = self._open(graph)
        self._sessions[key] = session
        self.nbytes += len(graph)
        return session

    def embed(
        self, contents: Sequence[bytes], taps: Sequence[str], batch_size: int = 32
    ) -> dict[str, Features]:
        """Features of canonical inputs, in order; batches are cut from the length-sorted list."""
        prepared = [self.preprocessor.prepare(content) for content in contents]
        order = sorted(range(len(prepared)), key=lambda i: self.preprocessor.size(prepared[i]))
        result = {
            name: np.empty((len(prepared), self.card.tap(name).dim), np.float32)
            for name in dict.fromkeys(taps)
        }
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            for name, features in self.run([prepared[i] for i in rows], taps).items():
                result[name][rows] = features
        return result


def _joined(parts: Sequence[Features]) -> Features:
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
