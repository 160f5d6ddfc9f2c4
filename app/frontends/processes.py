"""What the processes that the supervisor starts do: the engine, and the front-ends."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
from dataclasses import dataclass
from functools import partial

import uvicorn
import uvloop

from app import drain, logs, tracing
from app.api.entrance import Entrance
from app.api.protocol import server_options
from app.frontends.advisor import RemoteAdvisor
from app.frontends.board import Board
from app.frontends.fresh import Fresh
from app.frontends.host import DeviceLost, Host
from app.frontends.posts import DRAIN_SECONDS, Post
from app.frontends.remote import RemoteEngine, RemoteServing, open_distant
from app.frontends.sockets import shared
from app.garbage import set_aside
from app.main import Behind, Ground, app_of, build, services
from app.parent import die_with
from app.services.catalogue import Catalogue
from app.services.container import Services
from app.services.registry import Registry
from app.settings import Settings

log = logging.getLogger(__name__)
DEVICE_LOST = 70
"""How the engine's process ends when its GPU no longer computes."""


def main(told: str) -> None:
    """Do what a post says, until SIGTERM."""
    post = Post.parse(told)
    die_with(post.parent)
    logs.configure()
    tracing.configure()
    board = Board.of(post.board, post.slots, post.slot)
    if post.role == "engine":
        run_engine(post, board)
    else:
        os.close(post.listener)
        run_front_end(post, board)


def run_engine(post: Post, board: Board) -> None:
    """The sessions, the jobs, and the other ends of the front-ends' lines."""
    process = build(Settings(), applied=board.tell, device_lost=_end_at_once)
    process.start(worker=post.worker)
    set_aside()
    listening = socket.socket(fileno=post.listener)
    try:
        uvloop.run(_hosted(Host(process, listening, board.beat)))
    except DeviceLost:
        log.critical("the device is lost; this process ends, to be started anew")
        os._exit(1)  # closing would wait for the device
    finally:
        process.close()


def _end_at_once() -> None:
    """The supervisor starts another process, whose context is a new one. What is in flight gets its 503 from
    the front-ends; nothing can be closed in order while calls hang in a driver."""
    os._exit(DEVICE_LOST)


async def _hosted(host: Host) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await host.run(stop)


@dataclass(frozen=True)
class FrontEnd:
    """The parts of a front-end, and their life."""

    ground: Ground
    services: Services
    engine: RemoteEngine

    def start(self, *, worker: bool) -> None:
        self.ground.decoders.warm()
        self.services.registry.start()
        self.services.health.start()

    def close(self) -> None:
        self.services.health.close()
        self.services.registry.close()
        self.ground.decoders.close()
        self.ground.close()


def front_end(settings: Settings, line: str, board: Board) -> FrontEnd:
    """The whole service but for the engine, which is at the end of a line."""
    ground, engine = Ground.of(settings), RemoteEngine(line)
    catalogue = Catalogue()
    registry = Registry(ground.db, catalogue, partial(open_distant, ground.artefacts), board.tell)
    behind = Behind(
        engine,
        RemoteAdvisor(engine.line),
        registry,
        RemoteServing(engine, catalogue, registry.refresh),
        engine.ahead,
        engine.wake,
        board.restarts,
        engine.degraded,
    )
    return FrontEnd(ground, services(ground, behind), engine)


def run_front_end(post: Post, board: Board) -> None:
    """HTTP on the service's addresses, shared with the other front-ends."""
    settings = Settings()
    process = front_end(settings, post.line, board)
    service = app_of(process, worker=False)
    app = Fresh(Entrance(service), process.services.registry, process.engine.line, board)
    options = server_options(settings, service.state.turnstile.refusal) | {
        "timeout_graceful_shutdown": DRAIN_SECONDS
    }
    config = uvicorn.Config(app, **options)
    drain.Server(config, process.services.health, settings.drain_notice_seconds).run(
        [shared(socket.AddressFamily(f), tuple(a)) for f, a in post.addresses]
    )
