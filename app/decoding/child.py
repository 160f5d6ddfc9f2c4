"""A child: decodes what it is sent until the other end hangs up."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable, Iterator
from functools import lru_cache
from time import monotonic

from app.decoding.channel import Channel
from app.decoding.limits import Limits, allow, bound, peak_memory
from app.frames import Frame, Header, arrays_header, contents_of, error_header, sizes
from models.backbone import BackboneCard
from models.dataset import Pack
from models.errors import DurianError
from models.formats import pack_rows, read_pack
from models.manifest import SignalGrid
from models.modalities import preprocessor
from models.modalities.base import Preprocessor
from models.modalities.faults import out_of_memory, watch

AT = "at"
ALONE = "alone"
"""Asks for each reply as soon as there is one, so that the end of the child tells at which input it ended."""
BROKEN = "broken"
LEAVES = "leaves"
_GROWTH = 64 * 1024 * 1024
"""A child that has ever held so much more than at its start makes room for a fresh one, forked in 5 ms."""

_HELD_SECONDS = 0.005
"""Replies of so much time go out together."""

Reply = tuple[Header, list[bytes]]


def serve(channel: Channel, limits: Limits) -> None:
    """Answer every frame with one reply an input: for a pack one, after the places it came by.

    Media are decoded here and nowhere else in the service, so whatever a decoder does ends this process
    at most.
    """
    bound(limits.memory)
    most, leaves = peak_memory() + _GROWTH, False
    while not leaves and (asked := channel.receive()) is not None:
        watch(_watcher(channel, limits, tells=asked.header["do"] != "prepare"))
        allow(limits.parsing(len(asked.payload)))
        alone, sent = asked.header.get(ALONE, False), monotonic()
        for header, payload in _DO[asked.header["do"]](asked):
            leaves = peak_memory() > most
            channel.hold({**header, LEAVES: leaves}, *payload)
            if alone or monotonic() - sent > _HELD_SECONDS:
                channel.flush()
                sent = monotonic()
        channel.flush()
        allow(0)


def _watcher(channel: Channel, limits: Limits, *, tells: bool) -> Callable[[str], None]:
    def at(where: str) -> None:
        allow(limits.seconds)
        if tells:
            channel.send({AT: where})

    return at


def _read_pack(asked: Frame) -> Iterator[Reply]:
    told = asked.header
    yield _answer(
        "file",
        lambda: _packed(
            read_pack(
                told["filename"],
                asked.payload,
                modality=told["modality"],
                task=told["task"],
                grid=_grid(told),
            )
        ),
    )


def _pack_rows(asked: Frame) -> Iterator[Reply]:
    told = asked.header
    rows = zip(told["places"], contents_of(told, asked.payload), json.loads(told["labels"]), strict=True)
    yield _answer(
        "body",
        lambda: _packed(pack_rows(rows, modality=told["modality"], task=told["task"], grid=_grid(told))),
    )


def _prepare(asked: Frame) -> Iterator[Reply]:
    ours = _preprocessor(asked.header["card"])
    for where, content in zip(asked.header["places"], contents_of(asked.header, asked.payload), strict=True):
        yield _answer(where, lambda: arrays_header({"": ours.prepare(content, where)}))  # noqa: B023 (called at once)


_DO: dict[str, Callable[[Frame], Iterator[Reply]]] = {
    "read_pack": _read_pack,
    "pack_rows": _pack_rows,
    "prepare": _prepare,
}


def _answer(where: str, work: Callable[[], Reply]) -> Reply:
    """What the work gives, or what was wrong with its input."""
    try:
        return work()
    except DurianError as error:
        return error_header(error), []
    except MemoryError:
        return error_header(out_of_memory(where)), []
    except Exception as error:  # our own fault; its words may quote the input
        frames = "".join(traceback.format_tb(error.__traceback__))
        return {BROKEN: f"{type(error).__name__}\n{frames}"}, []


def _grid(told: Header) -> SignalGrid | None:
    return None if told["grid"] is None else SignalGrid.model_validate(told["grid"])


def _packed(pack: Pack) -> Reply:
    header = {
        "task": pack.task,
        "input": pack.input.model_dump(mode="json"),
        "labels": pack.labels,
        "warnings": pack.warnings,
        "sizes": sizes(pack.contents),
    }
    return header, list(pack.contents)


@lru_cache(64)
def _preprocessor(card: str) -> Preprocessor:
    return preprocessor(BackboneCard.model_validate_json(card), {})
