"""The engine as a front-end has it: in another process, at the end of a line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from pydantic import TypeAdapter

from app.engine.engine import EngineStats
from app.engine.heads import DistantHead
from app.engine.model import LoadedModel, Prediction
from app.engine.providers import Device
from app.engine.queue import DEFAULT
from app.engine.stats import Counters
from app.frames import Frame, Header, arrays_of, sizes
from app.frontends.line import Line
from app.services.artefacts import Artefacts
from app.services.catalogue import Entry
from app.services.serving import Serving
from models.base import sha256
from models.dataset import Pack
from models.errors import DeadlineExceeded
from models.runtime import Features

Address = tuple[str, str, int, str]
"""Tenant, model name, version, artefact digest: which version of which model a front-end means."""

_STATS: TypeAdapter[EngineStats] = TypeAdapter(EngineStats)
_COUNTERS: TypeAdapter[list[tuple[str, int, Counters]]] = TypeAdapter(list[tuple[str, int, Counters]])
_UNKNOWN = EngineStats("cpu", 0, 0, 0, None, (), ())


def open_distant(artefacts: Artefacts, tenant: str, name: str, number: int, digest: str) -> LoadedModel:
    """An `Opener` that reads the manifest alone: the engine's process has the rest."""
    return LoadedModel(artefacts.manifest(digest), number, DistantHead(tenant, name))


def address_of(model: LoadedModel) -> Address:
    """What the engine's process knows the model by."""
    if not isinstance(model.head, DistantHead):
        raise AssertionError("a front-end opens models by `open_distant`")
    return model.head.tenant, model.head.name, model.version, model.digest


class RemoteEngine:
    """`Engine`, asked over a line. `stats` are half a second old at most while the engine is there."""

    def __init__(self, address: str) -> None:
        self.line = Line(address, self._hear)
        self._stats = _UNKNOWN
        self._degraded: list[str] = []

    def _hear(self, header: Header) -> None:
        self._stats = _STATS.validate_python(header["status"])
        self._degraded = header["degraded"]

    def degraded(self) -> list[str]:
        """What the engine's process found wrong with its devices, as of its last word."""
        return self._degraded

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
        """Raises as `Engine.predict`; NotFound where the version was deleted meanwhile."""
        header = {
            "do": "predict",
            "model": address_of(model),
            "embedding": embedding,
            "unknown": unknown,
            **_common(contents, deadline, priority),
        }
        reply = await self._by(deadline, header, contents)
        return Prediction(**arrays_of(*reply))

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
        """Raises as `Engine.embed`."""
        header = {
            "do": "embed",
            "backbone": backbone_id,
            "tap": tap,
            "tenant": tenant,
            **_common(contents, deadline, priority),
        }
        reply = await self._by(deadline, header, contents)
        return arrays_of(*reply)["embedding"]

    async def load(self, model: LoadedModel) -> Counters:
        """Have the engine load the model; its counters. Raises NotFound, CorruptArtefact, Unavailable."""
        reply = await self.line.ask({"do": "load", "model": address_of(model)})
        return _COUNTERS.validate_python(reply.header["counters"])[0][2]

    async def counters(self, tenant: str, names: Sequence[str]) -> list[tuple[str, int, Counters]]:
        """Those of every version of some models that the engine has loaded. Raises Unavailable."""
        reply = await self.line.ask({"do": "counters", "tenant": tenant, "names": list(names)})
        return _COUNTERS.validate_python(reply.header["counters"])

    def stats(self) -> EngineStats:
        return self._stats

    @property
    def device(self) -> Device:
        return self._stats.device

    @property
    def closing(self) -> bool:
        """Whether it takes no requests: it is away, or about to go."""
        return not self.line.up

    def ahead(self, pack: Pack) -> None:
        """Have features computed ahead of the jobs on a pack that has been stored."""
        self.line.tell({"do": "ahead", "pack": sha256(pack.to_bytes())})

    def wake(self) -> None:
        """Say that a job waits."""
        self.line.tell({"do": "wake"})

    async def _by(self, deadline: float | None, header: Header, contents: Sequence[bytes]) -> Frame:
        if deadline is None:
            return await self.line.ask(header, *contents)
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await self.line.ask(header, *contents)
        except TimeoutError:
            raise DeadlineExceeded("The request's time ran out before it was served.") from None


def _common(contents: Sequence[bytes], deadline: float | None, priority: int) -> Header:
    # One clock for all: `time.monotonic` counts from the machine's start, in every process.
    return {"sizes": sizes(contents), "deadline": deadline, "priority": priority}


class RemoteServing(Serving):
    """`Serving`, where the counters are kept by the engine's process."""

    engine: RemoteEngine

    async def loaded(self, tenant: str, ref: str, version: int | None = None) -> tuple[LoadedModel, Counters]:
        model = await self.resolve(tenant, ref, version)
        return model, await self.engine.load(model)

    async def counters(self, tenant: str, entries: Sequence[Entry]) -> list[tuple[str, int, Counters]]:
        return await self.engine.counters(tenant, [entry.name for entry in entries])
