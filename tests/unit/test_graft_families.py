"""Every family of backbones is cut at every tap, run by torch, trained and written back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from models.cut import INPUT, Cut, cut
from models.layouts import random_feeds
from models.runtime import open_session

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")
pytest.importorskip("transformers")

from tests import families  # noqa: E402 (after torch is known to be there)
from training.backbones.forms import place_of  # noqa: E402
from training.graft.blocks import blocks  # noqa: E402
from training.graft.module import GraphModule, write_back  # noqa: E402

NAMES = [
    pytest.param(name, marks=[pytest.mark.slow] if name in families.LARGE else [])
    for name in families.all_names()
]


@pytest.fixture(scope="module", params=NAMES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        families.shorten(patch.setattr)
        yield families.make(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def feeds(family: families.Family) -> dict[str, np.ndarray]:
    """Three rows; texts of different lengths."""
    return random_feeds(onnx.load_model_from_string(family.graph), 9)


@pytest.fixture(scope="module")
def cuts(family: families.Family) -> dict[str, Cut]:
    return {tap: cut(family.graph, tap, family.taps[-1]) for tap in (INPUT, *family.taps)}


def run(graph: bytes, feeds: dict[str, Any]) -> dict[str, Any]:
    session = open_session(graph)
    names = [value.name for value in session.get_outputs()]
    taken = {value.name: feeds[value.name] for value in session.get_inputs()}
    return dict(zip(names, session.run(names, taken), strict=True))


def test_taps_are_the_outputs_of_one_graph_in_both_forms(
    family: families.Family, feeds: dict[str, np.ndarray]
) -> None:
    """A mean, and the mean with the deviation; a mean that is the top itself is not said twice."""
    found = run(family.graph, feeds)
    assert set(found) == set(family.taps)
    stats = [name for name in found if name.endswith("_stat")]
    assert len(stats) >= family.depths
    for name in stats:
        mean, deviation = np.split(found[name], 2, axis=1)
        np.testing.assert_array_equal(mean, found.get(place_of(name), mean))
        assert (deviation >= 0).all()
        assert deviation.max() > 0


def difference(got: Any, expected: Any) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def test_trunk_and_tail_compute_what_the_whole_computes(
    family: families.Family, cuts: dict[str, Cut], feeds: dict[str, Any]
) -> None:
    top = family.taps[-1]
    whole = open_session(family.graph)
    for tap, parts in cuts.items():
        for part in (parts.trunk, parts.tail):
            onnx.checker.check_model(part)
        for rows in (1, 3):
            some = {name: value[:rows] for name, value in feeds.items()}
            edges = run(parts.trunk, some)
            assert tuple(edges) == parts.edges
            assert all(len(edge) == rows for edge in edges.values())
            expected = whole.run([top], some)[0]
            assert difference(run(parts.tail, edges)[top], expected) <= 1e-5, tap


def test_rows_of_edges_may_be_taken_apart(
    family: families.Family, cuts: dict[str, Cut], feeds: dict[str, Any]
) -> None:
    top = family.taps[-1]
    expected = run(family.graph, feeds)[top][[2, 0]]
    for tap, parts in cuts.items():
        edges = run(parts.trunk, feeds)
        turned = run(parts.tail, {name: value[[2, 0]] for name, value in edges.items()})[top]
        assert difference(turned, expected) <= 1e-5, tap


def test_torch_computes_what_the_runtime_computes(family: families.Family, feeds: dict[str, Any]) -> None:
    module, batch = opened(family, feeds)
    got = module(batch)[family.taps[-1]].detach().numpy()
    assert difference(got, run(family.graph, feeds)[family.taps[-1]]) <= 1e-4


def opened(family: families.Family, feeds: dict[str, Any]) -> tuple[GraphModule, dict[str, Any]]:
    """The whole graph as a module, and its batch."""
    parts = cut(family.graph, INPUT, family.taps[-1])
    module = GraphModule(onnx.load_model_from_string(parts.tail))
    return module, {name: torch.from_numpy(feeds[name]) for name in module.inputs}


def test_every_weight_learns_and_is_written_back(family: families.Family, feeds: dict[str, Any]) -> None:
    top = family.taps[-1]
    module, batch = opened(family, feeds)
    before = run(family.graph, feeds)[top]
    assert difference(run(write_back(module), feeds)[top], before) <= 1e-6
    features = module(batch)[top]
    torch.manual_seed(0)
    (features * torch.randn_like(features)).sum().backward()
    for name, weight in module.weights.items():
        assert weight.grad is not None, name
        assert weight.grad.isfinite().all(), name
    with torch.no_grad():
        for weight in module.weights.values():
            weight -= 1e-2 * weight.norm() * weight.grad / weight.grad.norm().clamp(min=1e-12)
        after = module(batch)[top].numpy()
    assert difference(after, before) > 1e-4
    written = write_back(module)
    assert difference(run(written, feeds)[top], after) <= 1e-4
    assert written == write_back(GraphModule(onnx.load_model_from_string(written)))


def test_blocks_hold_each_weight_of_the_whole_once(family: families.Family, feeds: dict[str, Any]) -> None:
    found = blocks(family.graph, (INPUT, *family.taps))
    assert [block.tap for block in found] == [INPUT, *family.taps[:-1]]
    names = [name for block in found for name in block.weights]
    module, _ = opened(family, feeds)
    assert sorted(names) == sorted(module.weights)
