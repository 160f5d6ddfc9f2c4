"""Tiny ONNX files as a stranger's exporter would write them, for the tests of the import."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Dims = Sequence[int | str] | None
IMAGE_SPEC = {"width": 8, "height": 8, "layout": "NCHW", "dtype": "float32"}


def value(name: str, dims: Dims, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, dims)


def save(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    weights: dict[str, np.ndarray[Any, Any]] | None = None,
    opset: int = 17,
    domains: Sequence[str] = (),
) -> Path:
    tensors = [numpy_helper.from_array(array, name) for name, array in (weights or {}).items()]
    graph = helper.make_graph(list(nodes), "g", list(inputs), list(outputs), tensors)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(domain, 1) for domain in domains)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def image_model(path: Path, batch: int | str = "batch", dims: Dims = ("batch", 5, 4, 4)) -> Path:
    """[N, 3, 8, 8] -> `map` [N, 5, 4, 4] and `scores` [N, 2], which needs weights of its own."""
    draw = np.random.default_rng(0)
    weights = {
        "w": draw.normal(size=(5, 3, 2, 2)).astype(np.float32),
        "top": draw.normal(size=(80, 2)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["map"], strides=[2, 2]),
        helper.make_node("Flatten", ["map"], ["flat"]),
        helper.make_node("MatMul", ["flat", "top"], ["scores"]),
    ]
    outputs = [value("map", dims), value("scores", ("batch", 2))]
    return save(path, nodes, [value("x", (batch, 3, 8, 8))], outputs, weights)


def staged_model(path: Path) -> Path:
    """[N, 3, 8, 8] -> `a` [N, 5, 8, 8] -> `b` [N, 6, 4, 4] -> `map` [N, 7, 2, 2] -> `mean` [N, 7, 1, 1]."""
    draw = np.random.default_rng(0)
    shapes = {"u": (5, 3, 1, 1), "v": (6, 5, 2, 2), "w": (7, 6, 2, 2)}
    weights = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = []
    for read, given, weight in (("x", "a", "u"), ("a", "b", "v"), ("b", "map", "w")):
        strides = [1, 1] if weight == "u" else [2, 2]
        nodes.append(helper.make_node("Conv", [read, weight], [f"{given}/linear"], strides=strides))
        nodes.append(helper.make_node("Relu", [f"{given}/linear"], [given]))
    nodes.append(helper.make_node("GlobalAveragePool", ["map"], ["mean"]))
    outputs = [value("map", ("batch", 7, 2, 2)), value("mean", ("batch", 7, 1, 1))]
    return save(path, nodes, [value("x", ("batch", 3, 8, 8))], outputs, weights)


def one_node(path: Path, op: str, domain: str = "", **attributes: Any) -> Path:
    """A model of one operator over an image."""
    node = helper.make_node(op, ["x"], ["y"], domain=domain, **attributes)
    dims = ("batch", 3, 8, 8)
    return save(path, [node], [value("x", dims)], [value("y", dims)], domains=[domain] if domain else [])


def loud_frontend(path: Path) -> Path:
    """[N, samples] -> [N, frames, 4]: frames of 4 samples, none below the loudest of the whole tensor - 1."""
    nodes = [
        helper.make_node("Reshape", ["wave", "shape"], ["frames"]),
        helper.make_node("ReduceMax", ["frames"], ["loudest"], keepdims=0),
        helper.make_node("Sub", ["loudest", "one"], ["floor"]),
        helper.make_node("Clip", ["frames", "floor"], ["out"]),
    ]
    weights = {"shape": np.array([0, -1, 4], np.int64), "one": np.array(1, np.float32)}
    return save(path, nodes, [value("wave", ("n", "s"))], [value("out", ("n", "f", 4))], weights)


def window_model(path: Path) -> Path:
    """[N, 3, 4, 1] (three frames) -> [N, 1, 1, 12], the values themselves."""
    nodes = [helper.make_node("Reshape", ["x", "shape"], ["y"])]
    weights = {"shape": np.array([-1, 1, 1, 12], np.int64)}
    return save(path, nodes, [value("x", ("n", 3, 4, 1))], [value("y", ("n", 1, 1, 12))], weights)


def text_model(path: Path) -> Path:
    """Token ids -> one vector a token: the row of a table; token types shift it."""
    ids = TensorProto.INT64
    nodes = [
        helper.make_node("Add", ["ids", "token_type_ids"], ["row"]),
        helper.make_node("Gather", ["table", "row"], ["raw"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["keep"]),
        helper.make_node("Add", ["raw", "keep"], ["tokens"]),
    ]
    weights = {
        "table": np.random.default_rng(0).normal(size=(128, 6)).astype(np.float32),
        "last": np.array([-1], np.int64),
    }
    inputs = [value(name, ("b", "l"), ids) for name in ("ids", "attention_mask", "token_type_ids")]
    return save(path, nodes, inputs, [value("tokens", ("b", "l", 6))], weights)
