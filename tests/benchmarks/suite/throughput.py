"""Predictions under load, against the bare ONNX Runtime session."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from app.demo.service import temporary_service
from app.settings import Settings
from models.runtime import Backbone
from models.shelf import SHIPPED, Shelf
from tests.benchmarks.drive import DRIVER
from tests.benchmarks.examples import Examples, digits, photographs, texts
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import MINILM, spread
from tests.benchmarks.serving import (
    HEAVIER,
    PHOTOGRAPHS,
    Bare,
    Cores,
    Round,
    Server,
    Slice,
    add_classifier,
    durian,
    pinned,
    with_int8,
)

ASKED = {1: 0.45, 8: 0.70, 32: 0.85, 128: 0.88}
_TAIL = 2.0
_TAIL_CLIENTS = 8
_IMAGES = "image/durian-small"
_SHOTS = 5
_PATIENT = {"DURIAN_MAX_WAIT_SECONDS": "60"}
_MOST = 240
_PHOTOGRAPH_COUNT = 150


@benchmark("Throughput: predictions against the bare session")
def throughput(setup: Setup) -> Iterator[Row]:
    """One input a request over HTTP, on models of 10 to 12 classes: texts as JSON over MiniLM in float32 and
    int8, PNGs of digits as raw bodies over our small image backbone, JPEGs over MobileNetV2 and ResNet-18 of
    torchvision (random weights, where torch is there). CPU ratio: predictions per CPU second of the service's
    processes / inputs per CPU second of the bare session (decoded, prepared and sorted by length ahead, at
    its best batch), in slices that take turns. It holds on a busy machine; predictions a second do not.
    Service and bare session have one core, the clients another, where there are two. Nobody is refused for
    having to wait.
    """
    with ExitStack() as stack:
        root, int8 = stack.enter_context(with_int8(MINILM, texts()))
        cases = [("text", MINILM, texts()), ("text int8", int8, texts()), ("small image", _IMAGES, digits())]
        if find_spec("torch") is not None:
            pictures = photographs(_PHOTOGRAPH_COUNT)
            for name, backbone in (("photograph", PHOTOGRAPHS), ("photograph, ResNet-18", HEAVIER)):
                add_classifier(root, backbone)
                cases.append((name, backbone, pictures))
        cores = Cores.split()
        with pinned(cores.serving):
            client = stack.enter_context(temporary_service(settings=_PATIENT))
        yield Row(what="CPU cores, service / clients", value=len(cores.serving), digits=0, how=_how(cores))
        for name, backbone, examples in cases:
            chosen, rest = examples.split(_SHOTS, seed=0)
            inputs = list(rest.inputs)[:_MOST]
            server = durian(client, backbone, chosen, inputs)
            with pinned(cores.serving):
                bare = Bare(open_backbone(root, backbone), contents(chosen, inputs))
            found = slices(bare, [server], ASKED, setup)
            yield from rows_of(name, bare, found, ASKED, server.name)


def _how(cores: Cores) -> str:
    apart = "apart" if cores.serving.isdisjoint(cores.clients) else "the same"
    return f"cores are {apart}; clients: {DRIVER}"


def open_backbone(root: Path, backbone: str) -> Backbone:
    """From the folders that the service looks into."""
    return Backbone(Shelf([root, Settings().embedded_backbones, SHIPPED]).get(backbone)[1])


def contents(examples: Examples, inputs: Sequence[object]) -> list[bytes]:
    """Canonical inputs of texts or pictures."""
    return [value if isinstance(value, bytes) else str(value).encode() for value in inputs]


def slices(
    bare: Bare, servers: Sequence[Server], asked: dict[int, float], setup: Setup
) -> dict[tuple[int, str], list[Slice]]:
    """Slices of some servers at each number of clients, in turns."""
    turn = Round(setup.amount(2), setup.amount(8, 1) / 10)
    found: dict[tuple[int, str], list[Slice]] = {}
    for _ in range(setup.amount(5)):
        for clients in asked:
            for server in servers:
                piece = turn.slice(server, bare, clients)
                found.setdefault((clients, server.name), []).append(piece)
    return found


def rows_of(
    name: str,
    bare: Bare,
    found: dict[tuple[int, str], list[Slice]],
    asked: dict[int, float],
    ours: str,
) -> Iterator[Row]:
    """Their rows; only ours has targets."""
    rates = [piece.bare for pieces in found.values() for piece in pieces]
    how = f"median; batches of {bare.batch}; {spread(rates, 0)}"
    yield Row(what=f"{name}, bare session per CPU second", value=float(np.median(rates)), digits=0, how=how)
    alone = len({server for _, server in found}) == 1
    for (clients, server), pieces in found.items():
        label = f"{name}, {clients} client{'s' * (clients > 1)}"
        own = server == ours
        label = label if alone else f"{server}, {label}"
        yield from _rows(label, pieces, asked[clients] if own else None, clients == _TAIL_CLIENTS and own)


def _rows(label: str, pieces: Sequence[Slice], asked: float | None, tail: bool) -> Iterator[Row]:
    ratios = [piece.ratio for piece in pieces]
    rates = [piece.seen.answered / piece.seen.seconds for piece in pieces]
    how = f"median; {spread(ratios, 2)}"
    yield Row(what=f"{label}, CPU ratio", value=float(np.median(ratios)), digits=2, at_least=asked, how=how)
    p50, p99 = (float(np.median([getattr(p.seen, q) for p in pieces])) for q in ("p50", "p99"))
    how = f"median; a request takes {p50:.1f} ms (half) and {p99:.1f} ms (99 %)"
    yield Row(what=f"{label}, predictions a second", value=float(np.median(rates)), digits=0, how=how)
    if tail:
        value = float(np.median([piece.seen.p99 / piece.seen.p50 for piece in pieces]))
        yield Row(
            what=f"{label}, 99 % / half", value=value, digits=2, at_most=_TAIL, how="median of the runs"
        )
