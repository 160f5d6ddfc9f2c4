"""Frames over a blocking socket, for the two ends of one child."""

from __future__ import annotations

import select
import socket

import orjson

from app.frames import LENGTHS, Frame, Header, encode

_JOINED = 256 * 1024
"""Payloads up to here are sent in one piece with their header, and frames that are held back as soon as they
come to as much."""

_BUFFER = 128 * 1024


class Channel:
    """One end. A frame of any size is read into memory once."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb", _BUFFER)
        self._patience: float | None = -1
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._idle = select.poll()
        self._idle.register(connection, select.POLLIN)

    def hold(self, header: Header, *payload: bytes) -> None:
        """Send this with the next ones: each sending wakes the other end, which costs more than a small
        frame does."""
        self._held.append(encode(header, *payload))
        self._held_bytes += len(self._held[-1])
        if self._held_bytes > _JOINED:
            self.flush()

    def flush(self) -> None:
        """Send what is held."""
        held, self._held, self._held_bytes = self._held, [], 0
        if held:
            self._connection.sendall(b"".join(held))

    def send(self, header: Header, *payload: bytes) -> None:
        self.flush()
        size = sum(map(len, payload))
        if size <= _JOINED:
            self._connection.sendall(encode(header, *payload))
            return
        head = orjson.dumps(header)
        self._connection.sendall(LENGTHS.pack(len(head), size) + head)
        for part in payload:
            self._connection.sendall(part)

    def receive(self, seconds: float | None = None) -> Frame | None:
        """The next frame; None once the other end is gone. Raises TimeoutError after so much silence."""
        if seconds != self._patience:
            self._connection.settimeout(seconds)
            self._patience = seconds
        try:
            lengths = self._reader.read(LENGTHS.size)
            if len(lengths) < LENGTHS.size:
                return None
            head, body = LENGTHS.unpack(lengths)
            header, payload = self._reader.read(head), self._reader.read(body)
        except ConnectionError:
            return None
        return Frame(orjson.loads(header), payload) if len(payload) == body else None

    def silent(self) -> bool:
        """Whether nothing has come that nobody asked for; the end of the other side is such a thing."""
        return not self._idle.poll(0)

    def close(self) -> None:
        self._reader.close()
        self._connection.close()
