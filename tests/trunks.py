"""Backbones, heads and models small enough to reason about, for tests of the engine and of serving."""

from __future__ import annotations

import io
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.engine.model import LoadedModel
from app.engine.providers import Device
from app.engine.trunks import prepare_each
from models.backbone import (
    GRAPH,
    BackboneCard,
    Preprocess,
    SignalPreprocess,
    Tap,
    TextPreprocess,
    write_backbone,
)
from models.base import ModalityName, TaskName, sha256
from models.errors import DurianError, InvalidInput, NotFound
from models.manifest import BackboneRef, Head, InputSpec, Manifest, SignalGrid
from models.modalities.base import Prepared
from models.runtime import Features

DIMS = {"low": 4, "top": 6}
POINTS = 8


def card(id: str = "text/fake", modality: ModalityName = "text") -> BackboneCard:
    how: Preprocess = TextPreprocess() if modality == "text" else SignalPreprocess(points=POINTS)
    taps = tuple(Tap(name=name, dim=dim, depth=1.0) for name, dim in DIMS.items())
    return BackboneCard(
        id=id,
        modality=modality,
        preprocess=how,
        input="x",
        taps=taps,
        default_tap="top",
        parameters=0,
        licence="none",
        source=id,
        files={GRAPH: sha256(id.encode())},
    )


class FakeTrunk:
    """Features are projections of how often each byte occurs. Contents beginning with `bad` do not decode.

    `gate` closed holds every run; `batches` has the contents of each run; `fail` makes runs raise.
    `nbytes` is what it says it takes in memory.
    """

    def __init__(self, card: BackboneCard, nbytes: int = 0) -> None:
        self.card = card
        self.nbytes = nbytes
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.batches: list[list[bytes]] = []
        self.fail = False
        rng = np.random.default_rng(7)
        self._weights = {name: rng.normal(size=(dim, 256)).astype(np.float32) for name, dim in DIMS.items()}

    def prepare(self, contents: Sequence[bytes], places: Sequence[str]) -> list[Prepared | DurianError]:
        return prepare_each(self._prepare, contents, places)

    def _prepare(self, content: bytes, where: str) -> Prepared:
        if content.startswith(b"bad"):
            raise InvalidInput("input: not decodable.", code="undecodable")
        if content.startswith(b"broken"):
            raise ValueError("a decoder's own error")
        return np.frombuffer(content, np.uint8)

    def size(self, prepared: Prepared) -> int:
        return len(prepared)

    def run(self, batch: Sequence[Prepared], taps: Sequence[str]) -> dict[str, Features]:
        self.batches.append([one.tobytes() for one in batch])
        self.entered.release()
        assert self.gate.wait(10)
        if self.fail:
            raise RuntimeError("out of memory at /secret/path")
        counts = np.stack([np.bincount(one, minlength=256) for one in batch]).astype(np.float32)
        return {tap: counts @ self._weights[tap].T for tap in taps}

    def edges(self, batch: Sequence[Prepared], tap: str) -> dict[str, NDArray[Any]]:
        self.batches.append([one.tobytes() for one in batch])
        counts = np.stack([np.bincount(one, minlength=256) for one in batch]).astype(np.float32)
        return {"edge_0": counts @ self._weights[tap].T}

    def device(self) -> Device:
        return "cpu"


class FakeShelf:
    """Holds fakes by id; opening one is counted, and may be held up or fail."""

    def __init__(self, *trunks: FakeTrunk) -> None:
        self.trunks = {Path(trunk.card.id): trunk for trunk in trunks}
        self.opened: list[Path] = []
        self.gate = threading.Event()
        self.gate.set()
        self.fail = False

    def get(self, id: str) -> tuple[BackboneCard, Path]:
        if Path(id) not in self.trunks:
            raise NotFound("There is no such backbone.")
        return self.trunks[Path(id)].card, Path(id)

    def by_digest(self, digest: str) -> tuple[BackboneCard, Path]:
        for path, trunk in self.trunks.items():
            if trunk.card.digest == digest:
                return trunk.card, path
        raise NotFound("There is no such backbone.")

    def open(self, path: Path) -> FakeTrunk:
        self.opened.append(path)
        assert self.gate.wait(10)
        if self.fail:
            raise OSError("/secret/path")
        return self.trunks[path]


def manifest(
    backbone: BackboneCard,
    classes: int = 3,
    *,
    task: TaskName = "classification",
    tap: str = "top",
    kind: str = "affine",
    interval: float | None = None,
) -> Manifest:
    activation = {"classification": "softmax", "multilabel": "sigmoid", "regression": "identity"}[task]
    grid = SignalGrid(length=POINTS, lo=0, hi=POINTS - 1) if backbone.modality == "signal" else None
    return Manifest(
        task=task,
        labels=tuple(f"label-{i}" for i in range(classes)),
        input=InputSpec(modality=backbone.modality, grid=grid),
        backbone=BackboneRef(id=backbone.id, digest=backbone.digest),
        tap=tap,
        head=Head.model_validate(
            {"kind": kind, "activation": activation, "in_dim": DIMS[tap], "out_dim": classes}
        ),
        method="test",
        hyperparameters={},
        interval=interval,
        seed=0,
        dataset_digest="0" * 64,
        versions={},
        files={},
    )


def head_onnx(made_for: Manifest, seed: int = 0) -> bytes:
    """A head of the manifest's shape: features -> Gemm -> activation."""
    rng = np.random.default_rng(seed)
    head = made_for.head
    weight = (0.1 * rng.normal(size=(head.out_dim, head.in_dim))).astype(np.float32)
    bias = (0.1 * rng.normal(size=head.out_dim)).astype(np.float32)
    return affine_onnx(weight, bias, head.activation)


def affine_onnx(weight: NDArray[np.float32], bias: NDArray[np.float32], activation: str) -> bytes:
    last = {"softmax": "Softmax", "sigmoid": "Sigmoid", "identity": "Identity"}[activation]
    nodes = [
        helper.make_node("Gemm", ["features", "weight", "bias"], ["logits"], transB=1),
        helper.make_node(last, ["logits"], ["scores"]),
    ]
    return _model(
        nodes,
        helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", weight.shape[1]]),
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", len(weight)])],
        {"weight": weight, "bias": bias},
    )


def loaded(made_for: Manifest, seed: int = 0, version: int = 1) -> LoadedModel:
    return LoadedModel.load(made_for, version, head_onnx(made_for, seed))


def signal_backbone(folder: Path, id: str = "signal/tiny", seed: int = 3) -> BackboneCard:
    """A real, tiny ONNX backbone on disk: signals of POINTS values -> two taps."""
    rng = np.random.default_rng(seed)
    sizes = {"low": (POINTS, DIMS["low"]), "top": (DIMS["low"], DIMS["top"])}
    weights = {f"w_{tap}": rng.normal(size=size).astype(np.float32) for tap, size in sizes.items()}
    nodes = [
        helper.make_node("MatMul", ["x", "w_low"], ["hidden"]),
        helper.make_node("Tanh", ["hidden"], ["low"]),
        helper.make_node("MatMul", ["low", "w_top"], ["top"]),
    ]
    graph = _model(
        nodes,
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", POINTS]),
        [helper.make_tensor_value_info(tap, TensorProto.FLOAT, ["n", dim]) for tap, dim in DIMS.items()],
        weights,
    )
    made = card(id, "signal").model_copy(update={"files": {GRAPH: sha256(graph)}})
    write_backbone(folder, made, {GRAPH: graph})
    return made


def golden(contents: Sequence[bytes], features: Features, outputs: NDArray[np.float32]) -> bytes:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        blob=np.frombuffer(b"".join(contents), np.uint8),
        ends=np.cumsum([len(content) for content in contents], dtype=np.int64),
        features=features,
        outputs=outputs,
    )
    return buffer.getvalue()


def _model(
    nodes: list[onnx.NodeProto],
    taken: onnx.ValueInfoProto,
    given: list[onnx.ValueInfoProto],
    weights: dict[str, NDArray[np.float32]],
) -> bytes:
    initializers = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "test", [taken], given, initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())
