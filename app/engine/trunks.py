"""Backbones in memory: loaded on first use, in threads of their own, and again after they had to go."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from app.decoding.decoders import Decoders
from app.engine.gpu import GpuRuns
from app.engine.memory import Memory, Slot
from app.engine.providers import CUDA, Device, device_of
from app.engine.stats import Counters, Stats
from models.backbone import BackboneCard
from models.errors import DurianError, InvalidRequest, Unavailable
from models.modalities.base import Prepared, Preprocessor
from models.modalities.faults import fault
from models.runtime import Backbone, Features, expected_bytes

RUN_COST: dict[Device, int] = {"cpu": 8, "cuda": 4096}
"""What starting a graph costs, in tokens. On a CPU MiniLM-L6 takes 1.5 ms and 0.27 ms a token, so a batch of
like lengths beats a full one (docs/benchmarks.md); a GPU is idle below thousands of tokens, so fill it."""

GPU_BATCH = 4
"""A GPU takes batches so many times as large as a CPU: it is idle below thousands of tokens."""

LOADERS = 4
"""Backbones that load at a time. A load takes a second or two of one core and thrice the graph's memory, so
a slow one must not hold up the others, nor all of them come at once."""

MIB = 1024 * 1024
log = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where backbones lie; `models.shelf.Shelf` is one. Both raise NotFound."""

    def get(self, id: str) -> tuple[BackboneCard, Path]: ...
    def by_digest(self, digest: str) -> tuple[BackboneCard, Path]: ...


class Runnable(Protocol):
    """What the engine asks of a backbone; `OnnxTrunk` is one."""

    card: BackboneCard

    @property
    def nbytes(self) -> int: ...
    def prepare(self, contents: Sequence[bytes], places: Sequence[str]) -> list[Prepared | DurianError]: ...
    def size(self, prepared: Prepared) -> int: ...
    def run(self, batch: Sequence[Prepared], taps: Sequence[str]) -> dict[str, Features]: ...
    def edges(self, batch: Sequence[Prepared], tap: str) -> dict[str, NDArray[Any]]: ...
    def device(self) -> Device: ...


class OnnxTrunk:
    """A backbone's graph, shared by all lanes. With `decoders`, encoded media are decoded there; a GPU is
    made ready for batches of up to `most`. `fell_back` where it was to run on another device."""

    def __init__(
        self,
        folder: Path,
        providers: tuple[str, ...],
        decoders: Decoders | None = None,
        most: int = 32 * GPU_BATCH,
    ) -> None:
        again = partial(Backbone, folder, providers=providers)
        backbone = again()
        self.card = backbone.card
        media = self.card.modality in ("image", "audio")
        self._decode = partial(decoders.prepare, self.card.model_dump_json()) if decoders and media else None
        self.size = backbone.preprocessor.size
        self._backbone = backbone
        self._device = device_of(backbone.session, providers)
        runs = self._runs = backbone if self._device == "cpu" else GpuRuns(backbone, again, most)
        self.run: Callable[[Sequence[Prepared], Sequence[str]], dict[str, Features]] = runs.run
        self.edges: Callable[[Sequence[Prepared], str], dict[str, NDArray[Any]]] = runs.edges
        self.fell_back = CUDA in providers and self._device == "cpu"

    @property
    def nbytes(self) -> int:
        """Grows when a graph that ends at other taps is made."""
        return self._runs.nbytes

    def device(self) -> Device:
        return self._device

    def prepare(self, contents: Sequence[bytes], places: Sequence[str]) -> list[Prepared | DurianError]:
        """Each input decoded or tokenised, or what is wrong with it; `places` are their names."""
        if self._decode is not None:
            return self._decode(contents, places)
        return prepare_together(self._backbone.preprocessor, contents, places)


def prepare_together(
    preprocessor: Preprocessor, contents: Sequence[bytes], places: Sequence[str]
) -> list[Prepared | DurianError]:
    """Prepare the inputs at once where the preprocessor can; else, or if that breaks, one by one."""
    # Not `isinstance(..., ManyAtOnce)`: a protocol is looked through anew each time, for 5 us and more.
    many = getattr(preprocessor, "prepare_many", None)
    if many is not None:
        try:
            return list(many(contents, places))
        except Exception:  # one of them is to blame; which, shows below
            log.exception("%d inputs cannot be prepared together", len(contents))
    return prepare_each(preprocessor.prepare, contents, places)


def prepare_each(
    prepare: Callable[[bytes, str], Prepared], contents: Sequence[bytes], places: Sequence[str]
) -> list[Prepared | DurianError]:
    """Apply `prepare` to each input and its name; one that cannot be prepared fails alone."""
    found: list[Prepared | DurianError] = []
    for content, where in zip(contents, places, strict=True):
        try:
            found.append(prepare(content, where))
        except DurianError as error:
            found.append(error)
        except Exception:
            log.exception("an input cannot be prepared")
            found.append(fault(where, "the input cannot be decoded.", "undecodable"))
    return found


class Trunk:
    """A loaded backbone with what the engine keeps about it. `grown` is called when it takes more memory."""

    def __init__(self, runnable: Runnable, stats: Stats, grown: Callable[[], None]) -> None:
        self.card = runnable.card
        self.digest = runnable.card.digest
        self.prepare = runnable.prepare
        self.size = runnable.size
        self.device = runnable.device()
        self.run_cost = RUN_COST[self.device]
        self.nbytes = runnable.nbytes
        self.stats = stats
        self.fell_back: bool = getattr(runnable, "fell_back", False)
        self._runnable = runnable
        self._grown = grown

    def run(self, batch: Sequence[Prepared], taps: Sequence[str]) -> dict[str, Features]:
        """Features of a batch, each tap [n, D]."""
        features = self._runnable.run(batch, taps)
        self._weigh()
        return features

    def edges(self, batch: Sequence[Prepared], tap: str) -> dict[str, NDArray[Any]]:
        """What the tails that begin at `tap` are fed, each tensor [n, ...]."""
        edges = self._runnable.edges(batch, tap)
        self._weigh()
        return edges

    def _weigh(self) -> None:
        if self._runnable.nbytes != self.nbytes:
            self.nbytes = self._runnable.nbytes
            self._grown()

    @property
    def sizes_differ(self) -> bool:
        """Whether examples are padded to each other, so that it pays to choose who runs with whom."""
        return self.card.preprocess.kind == "text"

    def tap(self, name: str | None) -> str:
        """The tap's name, or the default one's. Raises InvalidRequest."""
        try:
            return self.card.tap(name).name
        except KeyError:
            known = ", ".join(tap.name for tap in self.card.taps)
            raise InvalidRequest(
                f"The backbone has no such tap; it has {known}.", code="unknown_tap", param="tap"
            ) from None


class _Place:
    """What stays known of a backbone while it comes and goes."""

    def __init__(self, card: BackboneCard, slot: Slot[Trunk]) -> None:
        self.card = card
        self.slot = slot
        self.stats = Stats()


class Trunks:
    """Backbones by digest, loaded when they are asked for, unloaded when `memory` is short.

    Every caller who asks for a backbone that is being loaded waits for the same load. `stays` says of a
    backbone whether it may never be unloaded.
    """

    def __init__(
        self, open_trunk: Callable[[Path], Runnable], memory: Memory, stays: Callable[[BackboneCard], bool]
    ) -> None:
        self._open = open_trunk
        self._memory = memory
        self._stays = stays
        self._places: dict[str, _Place] = {}
        self._loads: dict[str, Future[Trunk]] = {}
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(LOADERS, thread_name_prefix="backbone-load")

    def get(self, digest: str) -> Trunk | None:
        """The backbone, if it is in memory. Takes no lock."""
        place = self._places.get(digest)
        return None if place is None else place.slot.get()

    def load(self, card: BackboneCard, folder: Path) -> Future[Trunk]:
        """The load: under way, done, or started now. One that fails can be tried again.

        Raises Unavailable when closed.
        """
        with self._lock:
            load = self._loads.get(card.digest)
            if load is not None:
                return load
            place = self._place(card)
            trunk = place.slot.get()
            if trunk is not None:
                return _done(trunk)
            load = self._loads[card.digest] = self._submit(place, folder)
            return load

    def loaded(self) -> list[Trunk]:
        """Every backbone in memory."""
        return [trunk for place in list(self._places.values()) if (trunk := place.slot.peek()) is not None]

    def counters(self) -> list[tuple[BackboneCard, Counters]]:
        """Every backbone that was ever loaded, with what went through it."""
        return [(place.card, place.stats.snapshot()) for place in list(self._places.values())]

    def close(self) -> None:
        self._loader.shutdown(wait=True, cancel_futures=True)

    def _place(self, card: BackboneCard) -> _Place:
        place = self._places.get(card.digest)
        if place is None:
            slot: Slot[Trunk] = self._memory.slot("backbone", card.id, partial(self._stays, card))
            place = self._places[card.digest] = _Place(card, slot)
        return place

    def _submit(self, place: _Place, folder: Path) -> Future[Trunk]:
        try:
            return self._loader.submit(self._load, place, folder)
        except RuntimeError:  # the pool of threads is closed
            raise Unavailable("The service is shutting down.", code="shutting_down") from None

    def _load(self, place: _Place, folder: Path) -> Trunk:
        try:
            with self._memory.room("backbone", expected_bytes(folder, place.card)):
                trunk = self._opened(place, folder)
            place.slot.put(trunk)
        finally:
            with self._lock:
                del self._loads[place.card.digest]
        return trunk

    def _opened(self, place: _Place, folder: Path) -> Trunk:
        started = time.perf_counter()
        try:
            trunk = Trunk(self._open(folder), place.stats, self._memory.trim)
        except DurianError:
            raise
        except Exception as error:
            log.exception("a backbone cannot be loaded")
            raise Unavailable("The backbone cannot be loaded.", code="backbone_unavailable") from error
        seconds, mib = time.perf_counter() - started, trunk.nbytes / MIB
        log.info("loaded backbone %s (%.0f MiB) in %.2f s on %s", trunk.card.id, mib, seconds, trunk.device)
        if self._memory.budget is not None and trunk.nbytes > self._memory.budget:
            log.warning("backbone %s alone is more than the memory budget", trunk.card.id)
        return trunk


def _done(trunk: Trunk) -> Future[Trunk]:
    done: Future[Trunk] = Future()
    done.set_result(trunk)
    return done
