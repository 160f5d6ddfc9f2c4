"""CPU ratios: requests of a server against items of the bare session, in slices that take turns."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import psutil

from app.client import Client
from app.settings import Settings
from models.backbone import write_backbone
from models.base import sha256
from models.modalities.base import Feeds, Prepared
from models.runtime import Backbone
from models.shelf import SHIPPED, Shelf
from tests.benchmarks.drive import Drive, Target, drive
from tests.benchmarks.examples import Examples
from tests.benchmarks.registry import Broken, Peer
from tests.benchmarks.service import cpu_seconds, fit, processes, upload
from training.backbones.draft import card_of
from training.backbones.variants.make import add_variant

BATCHES = (1, 4, 8, 16, 32, 64)
EMBEDDED = "DURIAN_EMBEDDED_BACKBONES"
PHOTOGRAPHS, HEAVIER = "torchvision/mobilenet_v2", "torchvision/resnet18"


@dataclass(frozen=True)
class Cores:
    """One core for what serves (and for the bare session, in its turn), the others for the clients."""

    serving: frozenset[int]
    clients: frozenset[int]

    @classmethod
    def split(cls) -> Cores:
        """Of those that this process may use; both sets are the same where there is only one."""
        first, *rest = sorted(os.sched_getaffinity(0))
        return cls(frozenset({first}), frozenset(rest or {first}))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """This thread, and processes started meanwhile, on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Bare:
    """A backbone's session alone, one thread, on batches of like length made ahead: the hardest rival."""

    def __init__(
        self, backbone: Backbone, contents: Sequence[bytes], batches: Sequence[int] = BATCHES
    ) -> None:
        self._session, preprocessor = backbone.session, backbone.preprocessor
        self._items = len(contents)
        prepared: list[Prepared] = sorted(map(preprocessor.prepare, contents), key=preprocessor.size)
        self._feeds: dict[int, list[Feeds]] = {
            size: [preprocessor.collate(prepared[i : i + size]) for i in range(0, len(prepared), size)]
            for size in batches
        }
        self.batch = max(batches, key=lambda size: self.rate(size, 0.0))

    def rate(self, batch: int, seconds: float) -> float:
        """Items per CPU second, over all of them at least once and for `seconds` at least."""
        started, cpu, passes = time.perf_counter(), time.process_time(), 0
        while not passes or time.perf_counter() - started < seconds:
            for feeds in self._feeds[batch]:
                self._session.run(None, feeds)
            passes += 1
        return passes * self._items / (time.process_time() - cpu)


@dataclass(frozen=True)
class Server:
    """Something that answers over HTTP: ours, or any other given as URL and bodies."""

    name: str
    target: Target
    tree: Sequence[psutil.Process]


@dataclass(frozen=True)
class Slice:
    """One slice of time: what both gave per CPU second, and what the clients saw."""

    served: float
    bare: float
    seen: Drive

    @property
    def ratio(self) -> float:
        return self.served / self.bare


@dataclass(frozen=True)
class Round:
    """How long each is driven, in seconds, on which cores."""

    served: float
    bare: float
    cores: Cores = field(default_factory=Cores.split)

    def slice(self, server: Server, bare: Bare, clients: int) -> Slice:
        """The server, and the bare session half before and half after it: the machine's pace drifts."""
        first = self._bare(bare)
        before = cpu_seconds(server.tree)
        with pinned(self.cores.clients):
            try:
                seen = drive(server.target, clients, self.served)
            except Broken as error:
                raise Broken(f"{server.name}, {clients} clients: {error}") from None
        served = seen.answered / (cpu_seconds(server.tree) - before)
        return Slice(served, (first + self._bare(bare)) / 2, seen)

    def _bare(self, bare: Bare) -> float:
        with pinned(self.cores.serving):
            return bare.rate(bare.batch, self.bare / 2)


def peer(given: Peer) -> Server:
    """Another server, with its processes as they are now. Raises Broken when there is no such process."""
    url = urlsplit(given.url)
    bodies = given.bodies.read_bytes().splitlines()
    try:
        process = psutil.Process(given.pid)
    except psutil.NoSuchProcess:
        raise Broken(f"{given.name} has no process {given.pid}.") from None
    target = Target(url.hostname or "127.0.0.1", url.port or 80, url.path, bodies)
    return Server(given.name, target, [process, *process.children(recursive=True)])


def durian(client: Client, backbone: str, chosen: Examples, inputs: Sequence[object]) -> Server:
    """Our service with a model fitted on `chosen`, asked for one input a request."""
    suffix = f"served-{sha256(backbone.encode())[7:15]}"
    model = fit(client, upload(client, chosen), suffix, model=backbone).fine_tuned_model
    url = client.driver.http.base_url
    path, kind = "/v1/predictions", "application/json"
    if chosen.modality == "image":
        path, kind = f"{path}?model={model}&top_k=1", "application/octet-stream"
        bodies = [bytes(value) for value in inputs if isinstance(value, bytes)]
    else:
        bodies = [json.dumps({"model": model, "input": text, "top_k": 1}).encode() for text in inputs]
    return Server("Durian", Target(url.host, url.port or 80, path, bodies, kind), processes())


def add_classifier(root: Path, backbone: str) -> None:
    """One of torchvision's networks with random weights, as a backbone in this folder; where torch is."""
    families = import_module("tests.benchmarks.families")  # which needs torch
    draft = families.classifier(backbone.partition("/")[2])
    write_backbone(root / backbone, card_of(backbone, draft, "none", "random weights"), draft.files)


@contextmanager
def with_int8(backbone: str, task: Examples) -> Iterator[tuple[Path, str]]:
    """A folder of backbones that a service started meanwhile uses: the embedded ones, and the int8 variant
    of one, calibrated and measured on `task`. Gives the folder and the variant's id."""
    embedded = Settings().embedded_backbones.resolve()
    before = os.environ.get(EMBEDDED)
    with TemporaryDirectory(prefix="durian-int8-") as name:
        root = Path(name)
        for kind in (path for path in embedded.iterdir() if path.is_dir()):
            (root / kind.name).mkdir()
            for one in kind.iterdir():
                (root / kind.name / one.name).symlink_to(one)
        file = root / "task.jsonl"
        file.write_bytes(task.jsonl())
        folder = Shelf([embedded, SHIPPED]).get(backbone)[1]
        card = add_variant(folder, "int8", file, root, lambda line: None)
        os.environ[EMBEDDED] = str(root)
        try:
            yield root, card.id
        finally:
            os.environ.pop(EMBEDDED)
            if before is not None:
                os.environ[EMBEDDED] = before
