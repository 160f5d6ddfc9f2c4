"""The engine: every model's predictions and every embedding go through its one queue."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.decoding.decoders import Decoders
from app.engine.canary import Canary
from app.engine.golden import Golden
from app.engine.heads import TailHead
from app.engine.lanes import Lanes, fail
from app.engine.memory import Memory, Use
from app.engine.model import LoadedModel, Prediction
from app.engine.providers import Device
from app.engine.queue import DEFAULT, Limits, Queue
from app.engine.stats import Counters
from app.engine.trunks import GPU_BATCH, OnnxTrunk, Runnable, Shelf, Trunk, Trunks
from app.engine.work import Ask, Reply, Work, deliver
from models.backbone import BackboneCard
from models.errors import DeadlineExceeded, DurianError, NotFound, Unavailable
from models.runtime import CPU, Features

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BackboneStats:
    """What went through one backbone, over all models and embeddings, since the start."""

    id: str
    digest: str
    counters: Counters


@dataclass(frozen=True)
class EngineStats:
    """The engine at one moment. Models keep their own counters (`LoadedModel.stats`)."""

    device: Device
    lanes: int
    waiting: int
    waiting_background: int
    memory_budget: int | None
    memory: tuple[Use, ...]
    backbones: tuple[BackboneStats, ...]


class Engine:
    """`lanes` threads over the backbones of `shelf`.

    `max_queue` bounds the inputs that wait, all for one backbone where it is a number. Backbones live in
    `memory`; those whose ids are `pinned` are never unloaded. With `decoders`, pictures and sounds are
    decoded outside this process. `gpu_streams` batches run on a GPU at a time, None: a probe says how many.
    `device_lost` is called, once, when a GPU no longer computes. Methods named `..._sync` are for threads,
    the others for an event loop; a deadline is a time of `time.monotonic`, a priority one of
    `app.engine.queue`. A caller waits `max_seconds` at most.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        lanes: int | None = None,
        max_queue: int | Limits = 4096,
        max_batch: int = 32,
        gpu_streams: int | None = None,
        device_lost: Callable[[], None] = lambda: None,
        providers: tuple[str, ...] = CPU,
        memory: Memory | None = None,
        pinned: Collection[str] = (),
        decoders: Decoders | None = None,
        open_trunk: Callable[[Path], Runnable] | None = None,
        max_seconds: float = 60.0,
    ) -> None:
        self.providers = providers
        self._max_seconds = max_seconds
        self._shelf = shelf
        self._memory = memory or Memory()
        self._pinned = frozenset(pinned)
        opener = open_trunk or partial(
            OnnxTrunk, providers=providers, decoders=decoders, most=max_batch * GPU_BATCH
        )
        self._trunks = Trunks(opener, self._memory, self._stays)
        limits = Limits(max_queue, max_queue, max_queue) if isinstance(max_queue, int) else max_queue
        self._queue = Queue(limits=limits, max_batch=max_batch, gpu_streams=gpu_streams)
        self._lane_count = lanes or os.cpu_count() or 1
        self._canary = Canary(device_lost)
        self._lanes = Lanes(self._queue, self._lane_count, self._canary)

    async def predict(
        self,
        model: LoadedModel,
        contents: Sequence[bytes],
        *,
        embedding: bool = False,
        unknown: bool = False,
        deadline: float | None = None,
        priority: int = DEFAULT,
    ) -> Prediction:
        """Answer canonical inputs. `embedding` also returns the features at the model's tap, `unknown` which
        inputs are unlike its examples.

        Raises InvalidRequest (no inputs), TooLarge, InvalidInput (an input that cannot be decoded),
        RateLimited `queue_full`, DeadlineExceeded and Unavailable.
        """
        ask = Ask(contents, model, model.tap, embedding, priority, deadline, unknown, model.tenant)
        return await self._answer(self._load_for(model), ask)

    def predict_sync(
        self,
        model: LoadedModel,
        contents: Sequence[bytes],
        *,
        embedding: bool = False,
        unknown: bool = False,
    ) -> Prediction:
        """`predict`, for a thread that may wait."""
        ask = Ask(contents, model, model.tap, embedding, unknown=unknown, tenant=model.tenant)
        return self._answer_sync(self._load_for(model), ask)

    async def embed(
        self,
        backbone_id: str,
        contents: Sequence[bytes],
        *,
        tap: str | None = None,
        tenant: str = "",
        deadline: float | None = None,
        priority: int = DEFAULT,
    ) -> Features:
        """Features [n, D] of canonical inputs at a tap, for a tenant. Raises as `predict`, and NotFound."""
        ask = Ask(contents, tap=tap, embedding=True, priority=priority, deadline=deadline, tenant=tenant)
        return _features(await self._answer(self._find(*self._shelf.get(backbone_id)), ask))

    def embed_sync(
        self, backbone_id: str, contents: Sequence[bytes], *, tap: str | None = None, priority: int = DEFAULT
    ) -> Features:
        """`embed`, for a thread that may wait."""
        ask = Ask(contents, tap=tap, embedding=True, priority=priority)
        return _features(self._answer_sync(self._find(*self._shelf.get(backbone_id)), ask))

    def warm(self, model: LoadedModel, golden: bytes) -> None:
        """Let a new version prove itself on its golden examples. For a thread.

        Its head has to give training's answers for training's features of all of them, and the shortest is
        run the way requests will be, which shows the backbone and all around it; a tail is run on all.
        Raises CorruptArtefact `golden_mismatch` when it does not repeat what training saw.
        """
        expected = Golden.from_bytes(golden)
        if not isinstance(model.head, TailHead):
            expected.check_head(model.head, model.manifest)
            expected = expected.shortest()
        got = self.predict_sync(model, expected.contents, embedding=True)
        expected.check(got, model.manifest)

    def preload(self, backbone_id: str) -> Future[Trunk]:
        """The backbone's load: under way, done, or started now. Raises NotFound."""
        return self._trunks.load(*self._shelf.get(backbone_id))

    def preload_pinned(self) -> None:
        """Start to load the pinned backbones. One that is not there is reported in the log."""
        for backbone_id in sorted(self._pinned):
            try:
                self.preload(backbone_id)
            except NotFound:
                log.error("the pinned backbone %s is not installed", backbone_id)

    def loaded(self) -> list[str]:
        """Ids of the backbones in memory."""
        return [trunk.card.id for trunk in self._trunks.loaded()]

    @property
    def device(self) -> Device:
        """Where graphs run: "cuda" once a backbone does, else "cpu"."""
        return "cuda" if any(trunk.device == "cuda" for trunk in self._trunks.loaded()) else "cpu"

    @property
    def closing(self) -> bool:
        """Whether it takes no requests: `close` has been called, or the device is lost."""
        return self._queue.closed or self._canary.dead

    def degraded(self) -> list[str]:
        """`inference_hangs`, else `device_lost`, `cuda_unavailable`. Runs a known batch on a GPU."""
        if self._lanes.longest() > self._max_seconds:
            return ["inference_hangs"]  # a graph that runs cannot be stopped: only the process can
        trunks = self._trunks.loaded()
        lost = ["device_lost"] if not all(map(self._canary.sings, trunks)) else []
        return [*lost, *(["cuda_unavailable"] if any(trunk.fell_back for trunk in trunks) else [])]

    def stats(self) -> EngineStats:
        """Counters of the whole engine."""
        return EngineStats(
            self.device,
            self._lane_count,
            self._queue.waiting(background=False),
            self._queue.waiting(background=True),
            self._memory.budget,
            tuple(self._memory.use()),
            tuple(BackboneStats(card.id, card.digest, seen) for card, seen in self._trunks.counters()),
        )

    def close(self, timeout: float = 25.0) -> None:
        """Refuse new requests, serve those that wait, end the lanes; fail what `timeout` leaves over."""
        self._queue.close()
        if not self._lanes.join(timeout):
            left = self._queue.drop()
            for work in left:
                work.fail(Unavailable("The service is shutting down.", code="shutting_down"))
            deliver(left)
        self._trunks.close()

    def _stays(self, card: BackboneCard) -> bool:
        """Whether a backbone may not be unloaded: pinned, or gone from the disk and so without return."""
        if card.id in self._pinned:
            return True
        try:
            self._shelf.by_digest(card.digest)
        except NotFound:
            return True
        return False

    def _find(self, card: BackboneCard, folder: Path) -> Trunk | Future[Trunk]:
        return self._trunks.get(card.digest) or self._trunks.load(card, folder)

    def _load_for(self, model: LoadedModel) -> Trunk | Future[Trunk]:
        digest = model.manifest.backbone.digest
        trunk = self._trunks.get(digest)
        if trunk is not None:
            return trunk
        try:
            return self._trunks.load(*self._shelf.by_digest(digest))
        except NotFound:
            raise Unavailable(
                "The model's backbone is not installed here; an administrator has to add it.",
                code="backbone_unavailable",
            ) from None

    async def _answer(self, found: Trunk | Future[Trunk], ask: Ask) -> Prediction:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds(ask.deadline)
        trunk = found if isinstance(found, Trunk) else await _waited(found, end)
        reply: asyncio.Future[Prediction] = loop.create_future()
        work = _work(ask, trunk, reply, loop)
        # A timer of our own: asyncio's timeout costs a prediction four times as much.
        timer = loop.call_at(end, _expire, work)
        try:
            self._put(work)
            return await reply
        finally:
            timer.cancel()
            self._queue.withdraw(work)  # cancelled, late, or failed by one of its inputs
            # A failure's traceback keeps this frame; it must not keep the backbone.
            del found, trunk, reply, work, timer

    def _answer_sync(self, found: Trunk | Future[Trunk], ask: Ask) -> Prediction:
        reply: Future[Prediction] = Future()
        work = _work(ask, found if isinstance(found, Trunk) else found.result(), reply)
        try:
            self._put(work)
            return reply.result()
        finally:
            self._queue.withdraw(work)
            del found, reply, work

    def _seconds(self, deadline: float | None) -> float:
        """How long a caller waits at most."""
        left = self._max_seconds if deadline is None else deadline - time.monotonic()
        return min(left, self._max_seconds)

    def _put(self, work: Work) -> None:
        try:
            if self._canary.dead:
                raise Unavailable("The device no longer computes; try again later.", code="device_lost")
            self._queue.put(work)
        except DurianError as error:
            work.count_failure(error)
            raise


def _work(ask: Ask, trunk: Trunk, reply: Reply, loop: asyncio.AbstractEventLoop | None = None) -> Work:
    return Work(ask, trunk, trunk.tap(ask.tap), reply, loop)


async def _waited(load: Future[Trunk], end: float) -> Trunk:
    """The backbone, loaded. Raises DeadlineExceeded at `end`, a time of the event loop."""
    try:
        async with asyncio.timeout_at(end):
            # shielded: a caller who gives up must not cancel the load that others wait for
            return await asyncio.shield(asyncio.wrap_future(load))
    except TimeoutError:
        raise _late() from None


def _expire(work: Work) -> None:
    """End a request whose time is up."""
    fail([work], _late())


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("The request's time ran out before it was served.")


def _features(prediction: Prediction) -> Features:
    if prediction.embedding is None:
        raise AssertionError("an embedding was asked for")
    return prediction.embedding
