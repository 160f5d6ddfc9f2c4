"""Where a graph is cut with the least to carry over: a minimum cut between its weights and its tail."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.graphs import constants, open_inputs
from models.layouts import Layout, layouts

EACH = 64
"""Bytes a row that one more edge must save."""

AT_HAND = 4
"""An input of the graph costs so many times less: who runs the tail has it already."""

_ENDLESS = 2**30
Steps = Mapping[str, tuple[str, ...]]
"""Each tensor that depends on an input -> those it is computed from."""


def cheapest_edges(model: Any, tail: Collection[int], fixed: Collection[int]) -> dict[str, Layout]:
    """The tensors of fewest bytes from which the nodes `tail` can be computed, all going by examples.

    Steps in front of the tail may be repeated in it, but not the nodes `fixed`: unless the outcome of
    such a node does not go by examples (a table of position biases, say), as then it cannot be an edge.
    """
    nodes = model.graph.node
    steps = _steps(model)
    own = {name for index in tail for name in nodes[index].output}
    wanted = {name for index in tail for name in nodes[index].input if name in steps} - own
    ends = {name for index in fixed for name in nodes[index].output}
    ends.update(name for name, read in steps.items() if not read)
    while True:
        reached = _reach(steps, wanted, ends)
        found = layouts(model, sorted(reached))
        repeated = reached & ends - found.keys()
        if not repeated:
            break
        ends -= repeated
    inputs = {value.name for value in open_inputs(model)}
    sizes = {n: one.size // AT_HAND if n in inputs else EACH + one.size for n, one in found.items()}
    part = {name: steps[name] if name not in ends else () for name in reached}
    return {name: found[name] for name in separate(part, wanted, sizes)}


def _steps(model: Any) -> dict[str, tuple[str, ...]]:
    fixed = constants(model)
    steps: dict[str, tuple[str, ...]] = {value.name: () for value in open_inputs(model)}
    for node in model.graph.node:
        read = tuple(dict.fromkeys(name for name in node.input if name not in fixed))
        steps.update((name, read) for name in node.output if name not in fixed)
    return steps


def _reach(steps: Steps, wanted: Collection[str], ends: Collection[str]) -> set[str]:
    """`wanted` and what they are computed from, back to `ends`."""
    reached: set[str] = set()
    waiting = list(wanted)
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(() if name in ends else steps[name])
    return reached


def separate(steps: Steps, wanted: Collection[str], sizes: Mapping[str, int]) -> set[str]:
    """The tensors of least total size that stand between the beginnings of `steps` and `wanted`.

    Only tensors with a size are chosen; among equal choices the one nearest to `wanted`. By Ford &
    Fulkerson's theorem (1956), with each tensor as an arc whose capacity is its size.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import breadth_first_order, maximum_flow

    enter = {name: 2 * i for i, name in enumerate(sorted(steps))}
    source, sink = 2 * len(enter), 2 * len(enter) + 1
    arcs = [(at, at + 1, sizes.get(name, _ENDLESS)) for name, at in enter.items()]
    arcs += [(enter[one] + 1, enter[name], _ENDLESS) for name, read in steps.items() for one in read]
    arcs += [(source, enter[name], _ENDLESS) for name, read in steps.items() if not read]
    arcs += [(enter[name] + 1, sink, _ENDLESS) for name in wanted]
    begin, end, size = (np.array(column, np.int32) for column in zip(*arcs, strict=True))
    capacity = csr_array((size, (begin, end)), shape=(sink + 1, sink + 1))
    left = capacity - maximum_flow(capacity, source, sink).flow
    left.eliminate_zeros()
    open_ends: NDArray[Any] = breadth_first_order(left.T.tocsr(), sink, return_predecessors=False)
    behind = set(open_ends.tolist())
    return {name for name, at in enter.items() if at not in behind and at + 1 in behind}
