"""What the service asks of its decoding children: an answer, or what was wrong with which input."""

from __future__ import annotations

import json
import logging
import signal
from collections.abc import Sequence

from app.decoding.child import ALONE, AT, BROKEN
from app.decoding.limits import Limits
from app.decoding.nursery import NURSERY, Nursery
from app.decoding.pool import Lost, Pool
from app.frames import Frame, Header, arrays_of, contents_of, error_of, sizes
from models.base import Label
from models.dataset import Pack
from models.errors import DurianError, Unavailable
from models.formats import kind_of, pack_rows
from models.manifest import InputSpec, SignalGrid
from models.modalities import media_bytes
from models.modalities.base import Prepared
from models.modalities.faults import fault

GIB = 1024**3
SILENCE = 6.0
"""A child is given so many times its CPU seconds by the clock: the machine may be busy, or asleep."""

log = logging.getLogger(__name__)


class Decoders:
    """At most `most` children at a time, each with `memory` bytes over a fresh one's and, for each picture or
    clip, `seconds` of CPU. Thread-safe; every method waits."""

    def __init__(
        self, most: int, *, memory: int = 2 * GIB, seconds: float = 10.0, nursery: Nursery = NURSERY
    ) -> None:
        self._limits = Limits(memory, seconds)
        self._nursery = nursery
        self._pool = Pool(nursery, self._limits, most)

    def read_pack(self, filename: str, data: bytes, *, modality: str | None, task: str | None) -> Pack:
        """As `models.formats.read_pack`; Unavailable when there is no child to be had."""
        name = filename.encode(errors="replace").decode()  # half a surrogate is no JSON
        header = {"do": "read_pack", "filename": name, "modality": modality, "task": task, "grid": None}
        return self._pack(header, "file", data)

    def pack_rows(
        self,
        rows: Sequence[tuple[str, object, Label]],
        *,
        modality: str | None,
        task: str | None,
        grid: SignalGrid | None = None,
    ) -> Pack:
        """As `models.formats.pack_rows`. Only media go to a child: texts and numbers need no decoder."""
        if kind_of(rows, modality) not in ("image", "audio"):
            return pack_rows(rows, modality=modality, task=task, grid=grid)
        contents = [media_bytes(value, where) for where, value, _ in rows]
        header = {
            "do": "pack_rows",
            "places": [where for where, _, _ in rows],
            "labels": json.dumps([label for _, _, label in rows]),  # which keeps NaN, to be refused by name
            "sizes": sizes(contents),
            "modality": modality,
            "task": task,
            "grid": None,
        }
        return self._pack(header, "body", *contents)

    def prepare(
        self, card: str, contents: Sequence[bytes], places: Sequence[str]
    ) -> list[Prepared | DurianError]:
        """What the preprocessor of the backbone with this card (as JSON) makes of each encoded file.

        One that is no good costs its own place in the list and no other. Raises Unavailable.
        """
        found: list[Prepared | DurianError] = []
        alone = len(contents) == 1
        while len(found) < len(contents):
            rest = contents[len(found) :]
            header = {"do": "prepare", "card": card, "places": places[len(found) :], "sizes": sizes(rest)}
            try:
                self._prepare({**header, ALONE: alone}, rest, found)
            except Lost as lost:
                if alone:
                    found.append(self._verdict(lost, places[len(found)]))
                alone = True  # whose fault it was is not known while replies come together
        return found

    def warm(self) -> None:
        """Have the libraries loaded, that the first request need not wait for them."""
        self._nursery.warm()

    def close(self) -> None:
        self._pool.close()

    def _prepare(
        self, header: Header, contents: Sequence[bytes], found: list[Prepared | DurianError]
    ) -> None:
        with self._pool.lent() as child:
            child.channel.send(header, *contents)
            for where in header["places"]:
                reply = child.reply(SILENCE * self._limits.parsing(sum(header["sizes"])))
                found.append(_refusal(reply, where) or arrays_of(*reply)[""])

    def _pack(self, header: Header, where: str, *payload: bytes) -> Pack:
        patience = SILENCE * self._limits.parsing(sum(map(len, payload)))
        try:
            with self._pool.lent() as child:
                child.channel.send(header, *payload)
                while AT in (reply := child.reply(patience)).header:
                    where = reply.header[AT]
        except Lost as lost:
            raise self._verdict(lost, where) from None
        refusal = _refusal(reply, where)
        if refusal is not None:
            raise refusal
        return _unpacked(reply)

    def _verdict(self, lost: Lost, where: str) -> DurianError:
        """What is said of an input whose decoder did not survive it."""
        log.warning("a decoding process ended with %s", lost.status)
        if lost.status in (-signal.SIGKILL, -signal.SIGTERM):
            return Unavailable("The decoder was stopped; try again.", code="decoder_stopped")
        if lost.status in (None, -signal.SIGPROF):
            seconds = f"{self._limits.seconds:g} seconds"
            return fault(where, f"decoding this takes over {seconds}. Export it again.", "undecodable")
        return fault(where, "the content breaks its decoder. Export it again.", "undecodable")


def _refusal(reply: Frame, where: str) -> DurianError | None:
    if BROKEN in reply.header:
        log.error("a decoder broke: %s", reply.header[BROKEN])
        return fault(where, "the content cannot be decoded. Export it again.", "undecodable")
    return error_of(reply.header)


def _unpacked(reply: Frame) -> Pack:
    told = reply.header
    return Pack(
        task=told["task"],
        input=InputSpec.model_validate(told["input"]),
        contents=tuple(contents_of(told, reply.payload)),
        labels=tuple(told["labels"]),
        warnings=tuple(told["warnings"]),
    )
