"""Operations on ONNX graphs that need no runtime: keep what some outputs need, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any


def prune(graph: bytes, outputs: Iterable[str]) -> bytes:
    """The part of a graph that computes `outputs`, as a graph of its own.

    ONNX Runtime runs every node of a graph whatever outputs it is asked for, so a lower tap is only
    cheaper in a graph that ends there. Raises ValueError for an output that the graph does not have.
    """
    import onnx  # here: most processes never prune

    model = onnx.load_model_from_string(graph)
    wanted = set(outputs)
    if missing := set(wanted) - {value.name for value in model.graph.output}:
        raise ValueError(f"the graph has no output {min(missing)}")
    needed = set(wanted)
    for node in reversed(model.graph.node):  # topological order, so one pass backwards finds all
        if needed.intersection(node.output):
            needed.update(node.input)
    _keep(model.graph.output, lambda value: value.name in wanted)
    _keep(model.graph.node, lambda node: bool(needed.intersection(node.output)))
    _keep(model.graph.initializer, lambda tensor: tensor.name in needed)
    del model.graph.value_info[:]
    pruned: bytes = model.SerializeToString()
    return pruned


def _keep(field: Any, keep: Callable[[Any], bool]) -> None:
    """Drop the other elements in place: weights are never copied."""
    for index in reversed(range(len(field))):
        if not keep(field[index]):
            del field[index]
