"""What front-ends ask of the engine's process, and its answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import orjson

from app.engine.engine import Engine
from app.engine.model import LoadedModel
from app.frames import Header, arrays_header, contents_of, encode
from app.frontends.messages import prediction_arrays
from app.main import Process
from app.services.catalogue import ServedVersion
from models.dataset import Pack
from models.errors import DurianError, JobFailed, NotFound, RateLimited
from models.recommendation import RecommendationSpec

_BUSY_SECONDS = 30.0
_POLL_SECONDS = 0.5
log = logging.getLogger(__name__)

Reply = tuple[Header, list[bytes]]
EMPTY: list[bytes] = []


class Desk:
    """What can be asked, by the header's `do`; each gives the reply's header and payload."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self._engine: Engine = process.engine
        self._catalogue = process.services.registry.catalogue
        self._recommending = asyncio.Lock()
        self.asked: dict[str, Callable[[Header, bytes], Awaitable[Reply]]] = {
            "predict": self._predict,
            "embed": self._embed,
            "load": self._load,
            "counters": self._counters,
            "methods": self._methods,
            "recommend": self._recommend,
        }
        self.told: dict[str, Callable[[Header], None]] = {"wake": self._wake, "ahead": self._ahead}

    def status(self) -> bytes:
        """How the engine is, as a frame."""
        stats = orjson.dumps(self._engine.stats(), option=orjson.OPT_NON_STR_KEYS)
        degraded = self.process.services.health.degraded()
        return encode(
            {"status": orjson.Fragment(stats), "closing": self._engine.closing, "degraded": degraded}
        )

    async def _predict(self, header: Header, payload: bytes) -> Reply:
        prediction = await self._engine.predict(
            self._at_once(header["model"]) or await self._model(*header["model"]),
            contents_of(header, payload),
            embedding=header["embedding"],
            unknown=header["unknown"],
            deadline=header["deadline"],
            priority=header["priority"],
        )
        return arrays_header(prediction_arrays(prediction))

    async def _embed(self, header: Header, payload: bytes) -> Reply:
        features = await self._engine.embed(
            header["backbone"],
            contents_of(header, payload),
            tap=header["tap"],
            tenant=header["tenant"],
            deadline=header["deadline"],
            priority=header["priority"],
        )
        return arrays_header({"embedding": features})

    async def _load(self, header: Header, _: bytes) -> Reply:
        tenant, name, number, digest = header["model"]
        model = await self._model(tenant, name, number, digest)
        return _counted([(name, number, model.stats.snapshot())]), EMPTY

    async def _counters(self, header: Header, _: bytes) -> Reply:
        known = self._catalogue.snapshot(header["tenant"])
        entries = [known[name] for name in header["names"] if name in known]
        return _counted(await self.process.services.serving.counters(header["tenant"], entries)), EMPTY

    async def _methods(self, _header: Header, _: bytes) -> Reply:
        return {"methods": await asyncio.to_thread(self.process.services.methods.all)}, EMPTY

    async def _recommend(self, header: Header, _: bytes) -> Reply:
        try:
            await asyncio.wait_for(self._recommending.acquire(), _BUSY_SECONDS)
        except TimeoutError:
            raise RateLimited("Another recommendation is being made; try again soon.", code="busy") from None
        try:
            return {"message": await self._recommended(header["spec"])}, EMPTY
        finally:
            self._recommending.release()

    async def _recommended(self, spec: str) -> dict[str, Any]:
        run = self.process.runner.recommend(RecommendationSpec.model_validate_json(spec))
        try:
            while True:
                alive = run.alive()  # before reading: what a child said last is then never missed
                messages = await asyncio.to_thread(run.messages, _POLL_SECONDS)
                if messages:
                    return messages[0]
                if not alive:
                    raise JobFailed("The training process ended without an answer.", code="process_died")
        finally:
            await asyncio.to_thread(run.kill)

    def _wake(self, _: Header) -> None:
        self.process.worker.wake()

    def _ahead(self, header: Header) -> None:
        asyncio.get_running_loop().run_in_executor(None, self._start_ahead, header["pack"])

    def _start_ahead(self, digest: str) -> None:
        try:
            self.process.embedder.ahead(Pack.from_bytes(self.process.services.files.blobs.get(digest)))
        except DurianError as error:
            log.warning("features ahead of a job were not computed: %s", error.code)

    def _at_once(self, address: tuple[str, str, int, str]) -> LoadedModel | None:
        """The model, if it is in memory and is the one meant."""
        served = self._served(*address[:3])
        model = None if served is None else served.loaded
        return model if model is not None and model.digest == address[3] else None

    async def _model(self, tenant: str, name: str, number: int, digest: str) -> LoadedModel:
        """The model, loaded if need be; the catalogue is read anew where it knows another one, or none."""
        for _ in range(2):
            served = self._served(tenant, name, number)
            model = None if served is None else served.loaded or await asyncio.to_thread(served.model)
            if model is not None and model.digest == digest:
                return model
            await asyncio.to_thread(self.process.services.registry.refresh)
        raise NotFound("This model has no such version or alias.", param="model")

    def _served(self, tenant: str, name: str, number: int) -> ServedVersion | None:
        try:
            return self._catalogue.entry(tenant, name).versions.get(number)
        except NotFound:
            return None


def _counted(counters: Any) -> Header:
    return {"counters": orjson.Fragment(orjson.dumps(counters, option=orjson.OPT_NON_STR_KEYS))}
