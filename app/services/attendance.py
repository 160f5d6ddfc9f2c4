"""A worker's sign of life: a row in the database for services, a file for the container's health check."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from app.services.workers import ANNOUNCE_SECONDS, Workers
from models.errors import DurianError

log = logging.getLogger(__name__)


class Attendance:
    """Signs `owner` in every few seconds, from `start` to `stop`; `methods` may take its time."""

    def __init__(
        self, workers: Workers, owner: str, methods: Callable[[], Sequence[str]], beat: Path
    ) -> None:
        self._workers = workers
        self._owner = owner
        self._methods = methods
        self._beat = beat
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="attendance", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Sign out."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
            self._try(lambda: self._workers.leave(self._owner))

    def _run(self) -> None:
        while not self._stop.is_set():
            self._try(self._sign)
            self._stop.wait(ANNOUNCE_SECONDS)

    def _sign(self) -> None:
        self._workers.announce(self._owner, self._methods())
        self._beat.touch()

    @staticmethod
    def _try(act: Callable[[], None]) -> None:
        try:
            act()
        except (DurianError, OSError) as error:
            log.warning("the worker could not say that it lives: %s", error)
