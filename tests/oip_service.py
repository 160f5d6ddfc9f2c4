"""The Open Inference Protocol and `/v1/predictions` over a socket, with a trunk that can be held."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI

from app.api import faults, oip, predictions
from app.api.bodies import Bodies
from app.api.gate import Gate
from app.api.load import Load
from app.api.protocol import Guard, GuardedProtocol, Limits
from app.engine.engine import Engine
from app.services.catalogue import Catalogue
from app.services.health import Health
from app.services.keys import Identity
from app.services.rates import Rates
from app.services.serving import Serving
from tests.trunks import FakeShelf, FakeTrunk, card, loaded, manifest

TENANT = "acme"
MODELS = {"colours": manifest(card()), "peaks": manifest(card("signal/fake", "signal"), 2, task="regression")}


class Ours(GuardedProtocol):
    """As the service has it."""

    guard = Guard(Limits(head=10, body=10, write=10, per_address=0))


class Everybody:
    """Whoever asks is a writer of one tenant."""

    def known(self, key: str | None) -> Identity | None:
        return Identity(TENANT, "writer")

    def identify(self, key: str | None) -> Identity:
        return Identity(TENANT, "writer")


@dataclass
class OipService:
    """`trunk` is the text backbone. `client` speaks to `/v2`; `serving` may be replaced."""

    trunk: FakeTrunk
    engine: Engine
    catalogue: Catalogue
    parts: SimpleNamespace
    address: tuple[str, int]
    client: httpx.Client

    @staticmethod
    def until(condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.002)


@contextmanager
def oip_service_of(max_queue: int = 64, http: Any = Ours) -> Iterator[OipService]:
    """Two versions of each of `MODELS`, the second live, one lane; behind a protocol of Uvicorn's or ours."""
    trunk, catalogue = FakeTrunk(card()), Catalogue()
    shelf = FakeShelf(trunk, FakeTrunk(card("signal/fake", "signal")))
    engine = Engine(shelf, lanes=1, max_queue=max_queue, open_trunk=shelf.open)
    for name, made_for in MODELS.items():
        for version in (1, 2):
            catalogue.put_version(
                TENANT, name, version, lambda m=made_for, v=version: loaded(m, seed=v, version=v)
            )
        catalogue.set_alias(TENANT, name, "live", 2)
    parts = SimpleNamespace(serving=Serving(engine, catalogue), shelf=shelf, health=Health((), ()))
    inner = FastAPI()
    inner.state.services = parts
    for router in (oip.router, predictions.router):
        inner.include_router(router)
    faults.install(inner)
    bodies = Bodies(max_json=1 << 25, max_upload=1 << 25, max_body=1 << 25)
    app = Gate(inner, Everybody(), bodies, Rates(0), Load(max_wait=60))
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", http=http))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        OipService.until(lambda: server.started)
        address = listening.getsockname()
        with httpx.Client(base_url=f"http://{address[0]}:{address[1]}/v2", timeout=20) as client:
            yield OipService(trunk, engine, catalogue, parts, address, client)
        trunk.gate.set()
        server.should_exit = True
        thread.join()
    engine.close()
