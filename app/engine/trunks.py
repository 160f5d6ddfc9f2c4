"""Backbones in memory, loaded once, on first use, in a thread of their own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from app.engine.providers import Device, device_of
from app.engine.stats import Stats
from models.backbone import BackboneCard
from models.errors import DurianError, InvalidRequest, Unavailable
from models.modalities.base import Prepared
from models.runtime import Backbone, Features

RUN_COST: dict[Device, int] = {"cpu": 8, "cuda": 4096}
"""What starting a graph costs, in tokens. On a CPU MiniLM-L6 takes 1.5 ms and 0.27 ms a token, so a batch of
like lengths beats a full one (docs/benchmarks.md); a GPU is idle below thousands of tokens, so fill it."""

log = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where backbones lie; `models.shelf.Shelf` is one. Both raise NotFound."""

    def get(self, id: str) -> tuple[BackboneCard, Path]: ...
    def by_digest(self, digest: str) -> tuple[BackboneCard, Path]: ...


class Runnable(Protocol):
    """What the engine asks of a backbone; `models.runtime.Backbone` is one."""

    card: BackboneCard

    def prepare(self, content: bytes) -> Prepared: ...
    def size(self, prepared: Prepared) -> int: ...
    def run(self, batch: Sequence[Prepared], taps: Sequence[str]) -> dict[str, Features]: ...
    def device(self) -> Device: ...


class OnnxTrunk:
    """A backbone's graph, shared by all lanes."""

    def __init__(self, folder: Path, providers: tuple[str, ...]) -> None:
        backbone = Backbone(folder, providers=providers)
        self.card = backbone.card
        self.prepare = backbone.preprocessor.prepare
        self.size = backbone.preprocessor.size
        self.run = backbone.run
        self._device = device_of(backbone.session, providers)

    def device(self) -> Device:
        return self._device


class Trunk:
    """A loaded backbone with what the engine keeps about it."""

    def __init__(self, runnable: Runnable) -> None:
        self.card = runnable.card
        self.digest = runnable.card.digest
        self.prepare = runnable.prepare
        self.size = runnable.size
        self.run = runnable.run
        self.device = runnable.device()
        self.run_cost = RUN_COST[self.device]
        self.stats = Stats()

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


class Trunks:
    """Every caller who asks for a backbone that is being loaded waits for the same load."""

    def __init__(self, open_trunk: Callable[[Path], Runnable]) -> None:
        self._open = open_trunk
        self._loads: dict[str, Future[Trunk]] = {}
        self._lock = threading.Lock()
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="backbone-load")

    def get(self, digest: str) -> Future[Trunk] | None:
        """The backbone's load, under way or done; None when there is none or it failed."""
        load = self._loads.get(digest)
        return None if load is None or (load.done() and load.exception()) else load

    def load(self, digest: str, folder: Path) -> Future[Trunk]:
        """The load under way, or a new one. A failed load is forgotten, so that it can be tried again."""
        with self._lock:
            load = self.get(digest)
            if load is None:
                load = self._loads[digest] = self._loader.submit(self._load, folder)
            return load

    def loaded(self) -> list[Trunk]:
        """Every backbone in memory."""
        done = [load for load in list(self._loads.values()) if load.done()]
        return [load.result() for load in done if not load.exception()]

    def close(self) -> None:
        self._loader.shutdown(wait=True, cancel_futures=True)

    def _load(self, folder: Path) -> Trunk:
        started = time.perf_counter()
        try:
            trunk = Trunk(self._open(folder))
        except DurianError:
            raise
        except Exception as error:
            log.exception("a backbone cannot be loaded")
            raise Unavailable("The backbone cannot be loaded.", code="backbone_unavailable") from error
        seconds = time.perf_counter() - started
        log.info("loaded backbone %s in %.2f s on %s", trunk.card.id, seconds, trunk.device)
        return trunk
