"""Jobs that train below the top, on a backbone of two layers that is blind to most of what it is shown."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from models.backbone import GRAPH, BackboneCard, SignalPreprocess, Tap, write_backbone
from models.base import sha256
from models.manifest import HEAD
from models.modalities import preprocessor
from models.runtime import Backbone, open_session
from tests.signal_jobs import Fitted, SignalJobs
from training.frame import Frame
from training.heads import AffineHead
from training.methods import find

POINTS, LOW, TOP = 8, 4, 6
CLASSES = 2
ID = "signal/blind"
_BRIEF = {"steps": 8, "folds": 2, "time_budget_s": 600.0}  # a busy machine may not cut the steps


def weights(seed: int = 3) -> dict[str, np.ndarray]:
    """Two layers, of which the first sees the first half of a signal only."""
    rng = np.random.default_rng(seed)
    low = rng.normal(size=(POINTS, LOW))
    low[POINTS // 2 :] = 0
    top = rng.normal(size=(LOW, TOP))
    return {"w_low": low.astype(np.float32), "w_top": top.astype(np.float32)}


def graph(stored: dict[str, np.ndarray], last: Sequence[str] = ("Tanh",)) -> bytes:
    """low = tanh(x w_low), top = tanh(low w_top), or other functions in the place of the last."""
    nodes = [
        helper.make_node("MatMul", ["x", "w_low"], ["below"]),
        helper.make_node("Tanh", ["below"], ["low"]),
        helper.make_node("MatMul", ["low", "w_top"], ["above"]),
    ]
    between = ["above", *(f"above_{place}" for place in range(1, len(last))), "top"]
    nodes += [helper.make_node(op, [x], [y]) for op, (x, y) in zip(last, pairwise(between), strict=True)]
    value = helper.make_tensor_value_info
    made = helper.make_graph(
        nodes,
        "blind",
        [value("x", TensorProto.FLOAT, ["n", POINTS])],
        [value("low", TensorProto.FLOAT, ["n", LOW]), value("top", TensorProto.FLOAT, ["n", TOP])],
        [numpy_helper.from_array(array, name) for name, array in stored.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    return bytes(model.SerializeToString())


def network(bias: float = 0.0) -> Any:
    """The backbone with a random head, as a network to train. Imports torch."""
    from training.deep.network import Network
    from training.graft.module import GraphModule

    rng = np.random.default_rng(0)
    module = GraphModule(onnx.load_model_from_string(graph(weights())))
    head = AffineHead(rng.normal(size=(CLASSES, TOP)), np.array([bias, 0.0]), "softmax")
    return Network(module, "top", head, Frame(np.zeros(TOP), 1.0, None))


def write_blind(root: Path, last: Sequence[str] = ("Tanh",), gain: float = 1.0) -> Path:
    """The backbone in a new folder under `root`, its last layer times `gain`."""
    numbers = weights()
    numbers["w_top"] *= np.float32(gain)
    data, folder = graph(numbers, last), root / "blind"
    card = BackboneCard(
        id=ID,
        modality="signal",
        preprocess=SignalPreprocess(points=POINTS),
        input="x",
        taps=(Tap(name="low", dim=LOW, depth=0.5), Tap(name="top", dim=TOP, depth=1.0)),
        default_tap="top",
        parameters=POINTS * LOW + LOW * TOP,
        licence="none",
        source="made for tests",
        files={GRAPH: sha256(data)},
    )
    write_backbone(folder, card, {GRAPH: data})
    return folder


def seen(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Signals whose class lies in their first half, which the backbone sees."""
    return _signals(n, seed, 0)


def unseen(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """Signals whose class lies in their second half, which it does not see."""
    return _signals(n, seed, POINTS // 2)


def _signals(n: int, seed: int, first: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    x = 0.5 * rng.normal(size=(n, POINTS))
    up = np.arange(n) % 2 == 1
    x[:, first : first + 3] += np.where(up, 1.0, -1.0)[:, None]
    return x, ["up" if one else "down" for one in up]


def run(root: Path, method: str, data: Any = None, **more: Any) -> Fitted:
    """A job of a few steps over the backbone in `root / "blind"`; what it left."""
    folder = root / "blind" if (root / "blind").exists() else write_blind(root)
    jobs = SignalJobs(root, [folder])
    task = more.pop("task", "classification")
    given = more.pop("hyperparameters", {})
    given = {**_BRIEF, **given} if "steps" in _fields(method) else given
    training = jobs.store(task, *(data or seen(24, 0)))
    return jobs.run(task, training, method=method, hyperparameters=given, **more)


def _fields(method: str) -> set[str]:
    """The names of a method's hyperparameters."""
    info = find(method)
    return set() if info is None else set(info.hyperparameters.model_fields)


def answers(fitted: Fitted, x: Any) -> np.ndarray:
    """Scores or values [n, C] of signals [n, POINTS], by trunk and tail or by backbone and head."""
    if fitted.manifest.head.kind != "tail":
        return fitted.answers(x)
    backbone = Backbone(fitted.backbone)
    ready = preprocessor(backbone.card, {})
    prepared = [ready.prepare(row.tobytes()) for row in np.asarray(x, "<f4")]
    edges = backbone.edges(prepared, fitted.manifest.tap)
    return np.asarray(open_session(head(fitted)).run(None, edges)[0])


def head(fitted: Fitted) -> bytes:
    return (fitted.output / HEAD).read_bytes()


def stored(graph: bytes) -> dict[str, np.ndarray]:
    """A graph's numbers, by name."""
    model = onnx.load_model_from_string(graph)
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def accuracy(fitted: Fitted, data: tuple[np.ndarray, list[str]]) -> float:
    x, labels = data
    found = answers(fitted, x)[:, fitted.manifest.columns[0]].argmax(axis=1)
    right = [fitted.manifest.labels[c] == label for c, label in zip(found, labels, strict=True)]
    return float(np.mean(right))
