"""A classifier of torchvision as a backbone: which places become taps, and its graph.

Taps, from the input up: `stem`, `stage1`, `stage2`, ... end where the map's resolution falls next (of a
network of tokens: at each quarter of its blocks), as mean over space and, `<name>_stat`, as mean and
standard deviation. `embedding` is what the layer of class scores reads, averaged over space if it is a map.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from models.backbone import GRAPH, ImagePreprocess
from training.backbones.adapt import EMBEDDING
from training.backbones.draft import Draft, list_taps
from training.backbones.forms import stat
from training.backbones.hub.files import refused
from training.backbones.hub.torch_side import Forward, count_parameters, mean_and_stat, run_taps, to_onnx
from training.backbones.places import FALL, QUARTERS


@dataclass(frozen=True)
class Scaling:
    """(pixel / 255 - mean) / std for each of red, green and blue."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def apply(self, image: Any) -> Any:
        """uint8 [N, H, W, 3] -> float32 [N, 3, H, W]."""
        mean, std = (torch.tensor(values).mul(255).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (image.permute(0, 3, 1, 2).float() - mean) / std


@dataclass(frozen=True)
class Place:
    """A module whose output becomes taps; `depth` counts the modules called before its end, 0 to 1."""

    tap: str
    module: str
    depth: float


@dataclass(frozen=True)
class Call:
    """A module's run: its name and the shape of its output."""

    module: str
    shape: tuple[int, ...]


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Attention in small steps: torch's single operator for it cannot be exported."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@_plain_attention()
def draft(net: nn.Module, how: ImagePreprocess, scaling: Scaling) -> Draft:
    """The backbone of a classifier in evaluation mode, its pixels scaled in the graph.

    Raises InvalidInput: `non_finite` (the weights give NaN or infinity) or `export`.
    """
    pictures = examples(how.width)
    head, places = survey(net, how.width)
    _cut(net, head)
    names = [*(name for place in places for name in (place.tap, stat(place.tap))), EMBEDDING]
    forward: Forward = partial(features, head=head, places=places, names=names, scaling=scaling)
    expected, forward = run_taps(net, forward, names, [(picture,) for picture in pictures])
    graph = to_onnx(net, forward, {"image": np.stack(pictures[:2])}, list(expected), {0: "N"})
    return Draft(
        files={GRAPH: graph},
        preprocess=how,
        input="image",
        taps=list_taps(expected, {place.tap: place.depth for place in places}),
        parameters=count_parameters(graph),
        examples=pictures,
        expected=expected,
    )


def survey(net: nn.Module, side: int) -> tuple[str, list[Place]]:
    """The name of the layer of class scores, and the places of taps below it."""
    calls = _calls(net, side)
    scores = [
        n for n, c in enumerate(calls) if isinstance(net.get_submodule(c.module), nn.Linear | nn.Conv2d)
    ]
    if not scores:
        raise refused("The network has no layer of class scores to leave out.", "export")
    below = calls[: scores[-1]]
    ends = list(_stage_ends(below))
    names = ["stem", *(f"stage{n}" for n in range(1, len(ends)))]
    depths = [(end + 1) / (len(below) + 1) for end in ends]
    places = [Place(n, below[e].module, d) for n, e, d in zip(names, ends, depths, strict=True)]
    return calls[scores[-1]].module, places


def _calls(net: nn.Module, side: int) -> list[Call]:
    """Every unit that one picture passes, in order."""
    calls: list[Call] = []
    with ExitStack() as hooks, torch.no_grad():
        for name, module in units(net):
            note = partial(_note, calls, name)
            hooks.callback(module.register_forward_hook(note).remove)
        net(torch.zeros(1, 3, side, side))
    return calls


def _note(calls: list[Call], name: str, module: nn.Module, given: Any, out: Any) -> None:
    calls.append(Call(name, tuple(out.shape)))


def units(net: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The modules that are called one after another: plain sequences are opened, blocks are not."""
    for name, module in net.named_children():
        if type(module) in (nn.Sequential, nn.ModuleList) or type(module).__name__ == "Encoder":
            yield from units(module, f"{prefix}{name}.")
        else:
            yield prefix + name, module


def _stage_ends(calls: Sequence[Call]) -> Iterator[int]:
    """Index of the last call of each resolution, then of each quarter of the blocks of tokens."""
    # The second side, which is one of space whether channels come first or last.
    maps = [(n, call.shape[2]) for n, call in enumerate(calls) if len(call.shape) == 4 and call.shape[2] > 1]
    begin = maps[0][1] if maps else 0
    for (n, _), (_, after) in zip(maps, [*maps[1:], (0, 0)], strict=False):
        if after <= FALL * begin:
            yield n
            begin = after
    tokens = [n for n, call in enumerate(calls) if len(call.shape) == 3]
    if len(tokens) >= QUARTERS:
        yield from (tokens[len(tokens) * quarter // QUARTERS - 1] for quarter in range(1, QUARTERS + 1))


def _cut(net: nn.Module, head: str) -> None:
    parent, _, name = head.rpartition(".")
    setattr(net.get_submodule(parent), name, nn.Identity())


def features(
    net: nn.Module,
    image: Any,
    *,
    head: str,
    places: Sequence[Place],
    names: Sequence[str],
    scaling: Scaling,
) -> list[Any]:
    """uint8 [N, H, W, 3] -> the named taps, float32 [N, dim] each."""
    found: dict[str, Any] = {}
    with ExitStack() as hooks:
        for place in places:
            hook = partial(_pool, found, place.tap)
            hooks.callback(net.get_submodule(place.module).register_forward_hook(hook).remove)
        hook = partial(_embed, found)
        hooks.callback(net.get_submodule(head).register_forward_pre_hook(hook).remove)
        net(scaling.apply(image))
    return [found[name] for name in names]


def _pool(found: dict[str, Any], tap: str, module: Any, given: Any, out: Any) -> None:
    # At once: what follows may overwrite the map in place.
    found[tap], found[stat(tap)] = mean_and_stat(out, _space(out.shape))


def _embed(found: dict[str, Any], module: Any, given: Any) -> None:
    (out,) = given
    found[EMBEDDING] = out if out.ndim == 2 else out.mean(_space(out.shape))


def _space(shape: Sequence[int]) -> tuple[int, ...]:
    """The axes of space: pictures are square, so that two equal sides tell where the channels are."""
    if len(shape) == 3:
        return (1,)
    return (2, 3) if shape[2] == shape[3] else (1, 2)


def examples(side: int) -> list[Any]:
    """Three uint8 pictures [side, side, 3]: noise, and large and small blotches, bright and dark."""
    draw = np.random.default_rng(0)
    noise = draw.integers(0, 256, (side, side, 3))
    blotches = [
        np.kron(draw.integers(0, top, (-(-side // edge), -(-side // edge), 3)), np.ones((edge, edge, 1)))
        for edge, top in ((32, 256), (8, 64))
    ]
    return [picture[:side, :side].astype(np.uint8) for picture in (noise, *blotches)]
