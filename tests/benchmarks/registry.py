"""The benchmarks there are: a function that yields rows, with a name and a title."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from tests.benchmarks.results import Row

DATA = "DURIAN_TEST_DATA"


class Skipped(Exception):
    """The benchmark cannot run here; the message says why, and what would help."""


class Broken(Exception):
    """The benchmark ran into something that made measuring senseless; the message says what."""


@dataclass(frozen=True)
class Peer:
    """Another server: where it takes POSTs of JSON, a file of bodies, one a line, and its process."""

    name: str
    url: str
    bodies: Path
    pid: int


@dataclass(frozen=True)
class Setup:
    """How to run: the folder of test data, if any, whether only to try the benchmarks out, other servers."""

    data: Path | None = None
    quick: bool = False
    peers: tuple[Peer, ...] = ()

    def amount(self, full: int, quick: int = 1) -> int:
        """Of repetitions, or of seconds."""
        return quick if self.quick else full

    def file(self, name: str) -> Path:
        """A file of the test data. Raises Skipped."""
        if self.data is None or not (self.data / name).is_file():
            raise Skipped(f"{name} is not here: name its folder with --data or in {DATA}.")
        return self.data / name


Measure = Callable[[Setup], Iterator[Row]]


@dataclass(frozen=True)
class Benchmark:
    """`about` is the docstring of `measure`: it goes on the page."""

    name: str
    title: str
    about: str
    measure: Measure
    needs_data: bool = False
    needs_peers: bool = False
    apart: bool = False
    """Whether it runs only when it is named: it takes long, or much disk."""

    @property
    def command(self) -> str:
        """What a reader types to measure it again."""
        needs = " --data FOLDER" * self.needs_data + " --peer NAME URL BODIES PID" * self.needs_peers
        return f".venv/bin/python -m tests.benchmarks {self.name}{needs}"


REGISTRY: dict[str, Benchmark] = {}


def benchmark(
    title: str,
    *,
    needs_data: bool = False,
    needs_peers: bool = False,
    apart: bool = False,
    registry: dict[str, Benchmark] = REGISTRY,
) -> Callable[[Measure], Measure]:
    """Register a function under its own name. Raises ValueError when that is taken."""

    def register(measure: Measure) -> Measure:
        name = measure.__name__
        if name in registry:
            raise ValueError(f"benchmark {name} is registered twice")
        about = inspect.getdoc(measure) or ""
        registry[name] = Benchmark(name, title, about, measure, needs_data, needs_peers, apart)
        return measure

    return register


def load() -> dict[str, Benchmark]:
    """Every benchmark of `suite/`, by name."""
    suite = import_module("tests.benchmarks.suite")
    for module in pkgutil.iter_modules(suite.__path__):
        import_module(f"{suite.__name__}.{module.name}")
    return REGISTRY
