"""Mutants of ONNX files on their way to a backbone: `python -m tests.mutants.models FIRST END SABOTAGE`.

The file is parsed and adapted in this process, as in that of `durian backbones import`, and what comes out is
tried in a child with limits, as there. The service itself opens only what has passed all that.
"""

from __future__ import annotations

import ctypes
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx

from app.decoding.limits import allow
from models.backbone import GRAPH, BackboneCard, write_backbone
from models.base import sha256
from tests import onnx_models as tiny
from tests.mutants.changes import Seed
from tests.mutants.harness import main
from training.backbones.adapt import EMBEDDING, Adapted, adapt
from training.backbones.operators import load_model
from training.backbones.part import choose_part
from training.backbones.probe import examine, limit_self
from training.backbones.spec import ImportSpec, read_spec

SPECS = {
    "image": tiny.IMAGE_SPEC | {"pool": "channels_first"},
    "staged": tiny.IMAGE_SPEC | {"pool": "channels_first"},
}
OUTPUT = "map"
SECONDS = 5.0
_SHARED_MEMORY = Path("/dev/shm")


def seeds() -> list[Seed]:
    with tempfile.TemporaryDirectory() as folder:
        makers = {"image": tiny.image_model, "staged": tiny.staged_model}
        return [(name, make(Path(folder) / "m.onnx").read_bytes()) for name, make in makers.items()]


class Judge:
    """Imports a file into a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tried = 0

    def __call__(self, name: str, data: bytes) -> str | None:
        spec = read_spec(SPECS[name], "image")
        path = self._folder / "m.onnx"
        path.write_bytes(data)
        adapted = adapt(choose_part(load_model(path), None, OUTPUT), spec, None, lower=False)
        self.tried += 1
        self._try(adapted, spec)
        return None

    def _try(self, adapted: Adapted, spec: ImportSpec) -> None:
        """Load and run it in a child; one that dies of it is a model that is refused."""
        place = self._folder / "backbone"
        place.mkdir(exist_ok=True)
        write_backbone(place, _card(adapted, spec), {GRAPH: adapted.graph})
        child = os.fork()
        if not child:
            _examine(place)
        os.waitpid(child, 0)


def _examine(folder: Path) -> None:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        limit_self(folder)
        allow(SECONDS)
        examine(folder)
    finally:
        os._exit(0)


def _card(adapted: Adapted, spec: ImportSpec) -> BackboneCard:
    return BackboneCard(
        id="onnx/mutant",
        modality="image",
        preprocess=spec.preprocess,
        input=adapted.input,
        taps=adapted.taps,
        default_tap=EMBEDDING,
        parameters=adapted.parameters,
        licence="test",
        source="test",
        files={GRAPH: sha256(adapted.graph)},
    )


# --- faults planted in our own code, which the harness must find --------------------------------


def _leak() -> None:
    """What the parser raises gets through."""
    global load_model
    load_model = partial(onnx.load_model, load_external_data=False)


def _crash() -> None:
    """A model that is accepted is run in the process that parsed it, and is the end of that."""
    Judge._try = lambda *_: ctypes.string_at(0)  # type: ignore[assignment, method-assign, return-value]


SABOTAGE: dict[str, Callable[[], None]] = {"leak": _leak, "crash": _crash}


if __name__ == "__main__":
    root = _SHARED_MEMORY if _SHARED_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=root) as scratch:
        main(seeds(), Judge(Path(scratch)), SABOTAGE)
