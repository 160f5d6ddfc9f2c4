"""The engine's end: takes the connections of front-ends and answers what they ask."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast

import orjson

from app.engine.engine import Engine
from app.engine.model import LoadedModel
from app.frontends.frames import Frame, Frames, Header, encode
from app.frontends.line import Outbox
from app.frontends.messages import arrays_header, contents_of, error_header, prediction_arrays
from app.frontends.sockets import of_this_user
from app.main import Process
from app.services.catalogue import ServedVersion
from models.dataset import Pack
from models.errors import DurianError, JobFailed, NotFound, RateLimited
from models.recommendation import RecommendationSpec

STATUS_SECONDS = 0.5
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
        return encode({"status": orjson.Fragment(stats), "closing": self._engine.closing})

    async def _predict(self, header: Header, payload: bytes) -> Reply:
        prediction = await self._engine.predict(
            self._at_once(header["model"]) or await self._model(*header["model"]),
            contents_of(header, payload),
            embedding=header["embedding"],
            unknown=header["unknown"],
            deadline=header["deadline"],
            background=header["background"],
        )
        return arrays_header(prediction_arrays(prediction))

    async def _embed(self, header: Header, payload: bytes) -> Reply:
        features = await self._engine.embed(
            header["backbone"],
            contents_of(header, payload),
            tap=header["tap"],
            deadline=header["deadline"],
            background=header["background"],
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


class Connection(asyncio.Protocol):
    """One front-end. What it asks runs as tasks, and ends with the connection."""

    def __init__(self, desk: Desk, connections: set[Connection]) -> None:
        self._desk = desk
        self._connections = connections
        self._frames = Frames()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._outbox: Outbox | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not of_this_user(transport.get_extra_info("socket")):
            transport.close()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._outbox = Outbox(self._transport, asyncio.get_running_loop())
        self._connections.add(self)
        self.send(self._desk.status())

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._outbox = None
        for task in self._tasks.values():
            task.cancel()

    def data_received(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        for frame in self._frames.feed(data):
            do, id = frame.header["do"], frame.header.get("id")
            if id is None:
                self._desk.told[do](frame.header)
            elif do == "cancel":
                if task := self._tasks.pop(id, None):
                    task.cancel()
            else:
                self._tasks[id] = loop.create_task(self._answer(id, frame))

    def close(self) -> None:
        """Hang up, after what has been sent."""
        if self._transport is not None:
            self._transport.close()

    def send(self, frame: bytes) -> None:
        if self._outbox is not None:
            self._outbox.put(frame)

    async def _answer(self, id: int, frame: Frame) -> None:
        payload = EMPTY
        try:
            header, payload = await self._desk.asked[frame.header["do"]](frame.header, frame.payload)
        except DurianError as error:
            header = error_header(error)
        except Exception:
            log.exception("the engine's process could not %s", frame.header["do"])
            header = error_header(DurianError("Something broke inside the service.", code="internal"))
        finally:
            self._tasks.pop(id, None)
        self.send(encode({"id": id, **header}, *payload))


@dataclass
class Host:
    """Serves one process to all its front-ends. `beat` is called with each status, twice a second."""

    process: Process
    listening: socket.socket
    beat: Callable[[], None]

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set: the front-ends have gone before."""
        desk, connections = Desk(self.process), set[Connection]()
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: Connection(desk, connections), sock=self.listening
        )
        try:
            while not stop.is_set():
                self.beat()
                status = desk.status()
                for connection in connections:
                    connection.send(status)
                try:
                    await asyncio.wait_for(stop.wait(), STATUS_SECONDS)
                except TimeoutError:
                    continue
        finally:
            server.close()
            for connection in list(connections):
                connection.close()
