"""SIGTERM: first not ready, connections let go after their answers; then no new ones; then the end.

Who balances the load learns of it by `/v2/health/ready` before connections are refused, so no request is cut.
"""

from __future__ import annotations

import signal
import socket
import threading
from types import FrameType

import uvicorn

from app.garbage import set_aside
from app.services.health import Health


class Server(uvicorn.Server):
    """Serves on for `notice` seconds after SIGTERM. SIGINT, and a second signal, end it at once."""

    def __init__(self, config: uvicorn.Config, health: Health, notice: float) -> None:
        super().__init__(config)
        self._health = health
        self._notice = notice

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        set_aside()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        told = self._health.stopping
        self._health.stopping = True
        if sig == signal.SIGTERM and self._notice and not told:
            timer = threading.Timer(self._notice, super().handle_exit, (sig, frame))
            timer.daemon = True
            timer.start()
        else:
            super().handle_exit(sig, frame)
