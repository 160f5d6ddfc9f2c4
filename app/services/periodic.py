"""A thread that does one thing over and over, at once and then every so many seconds, until closed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

log = logging.getLogger(__name__)


class Periodic:
    """What goes wrong in one round is logged; the next one comes all the same."""

    def __init__(self, name: str, action: Callable[[], object], seconds: float) -> None:
        self._action = action
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop, and wait until a round that is under way has ended."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                self._action()
            except Exception:
                log.exception("a round of %s broke off", self._thread.name)
            if self._stop.wait(self._seconds):
                return
