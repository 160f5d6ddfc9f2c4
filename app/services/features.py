"""Features ahead of need: what an upload's jobs will ask for is computed once, in the background."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from app.engine.engine import Engine
from app.engine.providers import Device
from app.engine.queue import BACKGROUND
from models.backbone import BackboneCard, Precision, split_tap
from models.dataset import Pack
from models.errors import DurianError
from models.features import FeatureCache
from models.shelf import Shelf

_CHUNK = 64
_PRECISION: dict[Device, Precision] = {"cpu": "int8", "cuda": "fp16"}
log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Called with (examples done, examples to do); may raise to stop the work."""


class Embedder:
    """Fills the feature cache through the engine, in chunks that other callers can slip between."""

    def __init__(self, engine: Engine, shelf: Shelf, cache: FeatureCache) -> None:
        self.engine = engine
        self.shelf = shelf
        self.cache = cache
        self._chunk_lock = threading.Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="embed-ahead")
        self._closed = threading.Event()

    def ensure(self, card: BackboneCard, taps: Sequence[str], pack: Pack, progress: Progress) -> int:
        """Compute what the cache lacks of `pack` at these taps; return how many forward passes it took."""
        contents = dict(zip(pack.digests, pack.contents, strict=True))
        joined = "+".join(dict.fromkeys(part for tap in taps for part in split_tap(tap)))
        missing = self.cache.missing(card.digest, joined, pack.digests)
        computed = 0
        for start in range(0, len(missing), _CHUNK):
            progress(start, len(missing))
            computed += self._chunk(card, joined, missing[start : start + _CHUNK], contents)
        return computed

    def _chunk(self, card: BackboneCard, joined: str, names: list[str], contents: dict[str, bytes]) -> int:
        # One chunk at a time: two jobs on the same upload do not compute the same features twice.
        with self._chunk_lock:
            names = self.cache.missing(card.digest, joined, names)
            if names:
                batch = [contents[name] for name in names]
                vectors = self.engine.embed_sync(card.id, batch, tap=joined, priority=BACKGROUND)
                taps = [card.tap(name) for name in split_tap(joined)]
                ends = np.cumsum([tap.dim for tap in taps])[:-1]
                for tap, part in zip(taps, np.split(vectors, ends, axis=1), strict=True):
                    self.cache.put(card.digest, tap.name, names, part)
            return len(names)

    def ahead(self, pack: Pack) -> None:
        """Start computing, in the background, what a job on this pack will need first."""
        self._pool.submit(self._ahead, pack)

    def _ahead(self, pack: Pack) -> None:
        names = pack.label_names()
        for card in candidates(self.shelf, pack.input.modality, self.engine.device):
            try:
                for wanted in (pack,) if names is None else (names, pack):
                    self.ensure(card, card.trial_taps(), wanted, self._check_open)
            except _Closed:
                return
            except DurianError as error:
                log.warning("features ahead of a job were not computed: %s", error.code)

    def _check_open(self, _done: int, _total: int) -> None:
        if self._closed.is_set():
            raise _Closed

    def close(self) -> None:
        self._closed.set()
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Closed(Exception):
    """The service is stopping."""


def candidates(shelf: Shelf, modality: str, device: Device = "cpu") -> list[BackboneCard]:
    """The backbones `auto` considers: pretrained ones first, then their variants for the device, which
    must lose nothing, then the baselines, which must beat them."""
    cards = [card for card in shelf.list() if card.modality == modality]
    known = {card.digest for card in cards}
    cards = [card for card in cards if card.variant_of is None or _suits(card, device, known)]
    return sorted(cards, key=lambda card: (card.baseline, card.variant_of is not None))


def _suits(variant: BackboneCard, device: Device, known: Collection[str]) -> bool:
    """Whether it stands beside its original and is worth having here."""
    beside = variant.variant_of is not None and variant.variant_of.digest in known
    # Speed was measured on a CPU: there it must be a gain, and of fp16 on a GPU it says nothing.
    gains = device == "cuda" or (variant.effect is not None and variant.effect.speed > 1)
    return beside and variant.precision == _PRECISION[device] and gains


def baselines(shelf: Shelf, modality: str) -> list[BackboneCard]:
    """The declared baseline backbones of a modality."""
    return [card for card in shelf.list() if card.modality == modality and card.baseline]
