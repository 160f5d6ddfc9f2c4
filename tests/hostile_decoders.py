"""A template of decoding children whose decoders break; the last four bytes of a file tell how."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from PIL import Image

from app.decoding import template


def _hang() -> None:
    while True:
        pass


def _eat() -> None:
    held = []
    while True:
        held.append(b"x" * 16_000_000)


def _raise() -> None:
    raise KeyError("whatever a decoder may raise")


BREAKS: dict[bytes, Callable[[], object]] = {
    b"SEGV": lambda: ctypes.string_at(0),
    b"ABRT": os.abort,
    b"FPE!": lambda: os.kill(os.getpid(), signal.SIGFPE),
    b"EXIT": lambda: os._exit(0),
    b"HANG": _hang,
    b"WAIT": lambda: time.sleep(60),
    b"EATS": _eat,
    b"RAIS": _raise,
    b"KILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def main(control: socket.socket) -> None:
    real = Image.open

    def opened(file: Any, *arguments: Any, **options: Any) -> Any:
        BREAKS.get(file.getvalue()[-4:], lambda: None)()
        return real(file, *arguments, **options)

    Image.open = opened
    template.main(control)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])))
