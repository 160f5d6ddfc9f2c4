"""Operations on ONNX graphs that need no runtime: keep what some outputs need, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Sequence
from typing import Any


def prune(graph: bytes, outputs: Iterable[str]) -> bytes:
    """The part of a graph that computes `outputs`, as a graph of its own.

    ONNX Runtime runs every node of a graph whatever outputs it is asked for, so a lower tap is only
    cheaper in a graph that ends there. Raises ValueError for an output that the graph does not have.
    """
    import onnx  # here: most processes never prune

    model = onnx.load_model_from_string(graph)
    wanted = set(outputs)
    check_outputs(model, wanted)
    nodes = model.graph.node
    kept = needed(nodes, wanted)
    read = wanted.union(*(nodes[index].input for index in kept))
    _keep(model.graph.output, lambda index, value: value.name in wanted)
    _keep(nodes, lambda index, node: index in kept)
    _keep(model.graph.initializer, lambda index, tensor: tensor.name in read)
    del model.graph.value_info[:]
    pruned: bytes = model.SerializeToString()
    return pruned


def check_outputs(model: Any, names: Iterable[str]) -> None:
    """Raises ValueError for a name that is no output of the graph."""
    if missing := set(names) - {value.name for value in model.graph.output}:
        raise ValueError(f"the graph has no output {min(missing)}")


def needed(nodes: Sequence[Any], targets: Iterable[str], given: Container[str] = ()) -> set[int]:
    """Indices of the nodes that compute `targets`, where the tensors `given` are there already."""
    wanted = {name for name in targets if name not in given}
    kept = set()
    for index in reversed(range(len(nodes))):  # topological order, so one pass backwards finds all
        if wanted.intersection(nodes[index].output):
            kept.add(index)
            wanted.update(name for name in nodes[index].input if name not in given)
    return kept


def following(nodes: Sequence[Any], starts: Container[int]) -> set[int]:
    """Indices of the nodes `starts` and of all that depend on them."""
    tensors: set[str] = set()
    found = set()
    for index, node in enumerate(nodes):
        if index in starts or tensors.intersection(node.input):
            found.add(index)
            tensors.update(name for name in node.output if name)
    return found


def extract(model: Any, targets: Iterable[str], given: Container[str] = ()) -> Any:
    """A model of its own with the nodes and weights that compute `targets` from the tensors `given`.

    Its inputs and outputs are left to be filled in.
    """
    import onnx

    nodes = model.graph.node
    kept = [nodes[index] for index in sorted(needed(nodes, targets, given))]
    read = {name for node in kept for name in node.input}
    part = onnx.ModelProto(ir_version=model.ir_version, producer_name=model.producer_name)
    part.opset_import.extend(model.opset_import)
    part.graph.name = model.graph.name
    part.graph.node.extend(kept)
    part.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name in read)
    return part


def constants(model: Any) -> set[str]:
    """Names of the tensors that no input changes, "" for an input left out among them."""
    fixed = {"", *(tensor.name for tensor in model.graph.initializer)}
    for node in model.graph.node:
        if fixed.issuperset(node.input):
            fixed.update(node.output)
    return fixed


def open_inputs(model: Any) -> list[Any]:
    """The inputs to be fed: old exports also list their weights among the inputs."""
    stored = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in stored]


def _keep(field: Any, keep: Callable[[int, Any], bool]) -> None:
    """Drop the other elements in place: weights are never copied."""
    for index in reversed(range(len(field))):
        if not keep(index, field[index]):
            del field[index]
