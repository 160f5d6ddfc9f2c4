"""A backbone opened at a tap: examples pass the fixed trunk once, and batches of them train the tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.backbone import GRAPH, read_card
from models.cut import Cut, cut
from models.modalities import preprocessor
from models.modalities.base import Prepared, Preprocessor
from models.runtime import open_session
from models.store import verify_files
from training.graft.module import GraphModule

CHUNK = 32
Done = Callable[[int, int], None]
"""Called with (computed so far, to compute)."""


@dataclass(frozen=True)
class Rows:
    """Examples where the trunk ends: edge -> one array an example.

    Where lengths differ, the last place of each shorter row is one of padding, so that repeating it
    lengthens the row just as padding before the trunk would have.
    """

    edges: dict[str, list[NDArray[Any]]]

    def __len__(self) -> int:
        return len(next(iter(self.edges.values())))

    def batch(self, rows: Sequence[int], device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """The chosen examples together, as the tail takes them."""
        return {
            name: torch.from_numpy(_stack([values[row] for row in rows])).to(device)
            for name, values in self.edges.items()
        }


def _stack(arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
    longest = np.max([array.shape for array in arrays], axis=0)
    if all(array.shape == tuple(longest) for array in arrays):
        return np.stack(arrays)
    return np.stack([np.pad(a, [(0, n) for n in longest - a.shape], mode="edge") for a in arrays])


@dataclass(frozen=True)
class Tail:
    """`module` computes the features of `top` from batches of the rows that `edges` gives."""

    cut: Cut
    module: GraphModule
    top: str
    preprocessor: Preprocessor
    trunk: Any

    def features(self, batch: dict[str, Tensor]) -> Tensor:
        """[N, D], with gradients."""
        found: Tensor = self.module(batch)[self.top]
        return found

    def edges(self, prepared: Sequence[Prepared], done: Done | None = None) -> Rows:
        """Prepared examples through the trunk, in their order."""
        sizes = [self.preprocessor.size(one) for one in prepared]
        order = sorted(range(len(prepared)), key=sizes.__getitem__)
        columns: dict[str, list[Any]] = {name: [None] * len(prepared) for name in self.cut.edges}
        for start in range(0, len(order), CHUNK):
            rows = order[start : start + CHUNK]
            batch = [prepared[row] for row in rows]
            if sizes[rows[-1]] < sizes[order[-1]]:
                batch.append(_longer(batch[-1]))
            found = self.trunk.run(self.cut.edges, self._feeds(batch))
            for name, values in zip(self.cut.edges, found, strict=True):
                for row, value in zip(rows, values, strict=False):
                    columns[name][row] = value
            if done:
                done(start + len(rows), len(order))
        return Rows(columns)

    def _feeds(self, batch: Sequence[Prepared]) -> dict[str, Any]:
        taken = {value.name for value in self.trunk.get_inputs()}
        feeds = self.preprocessor.collate(batch)
        return {name: value for name, value in feeds.items() if name in taken}


def _longer(text: Prepared) -> Prepared:
    """Tokens one longer: collated with others, it leaves each of them a place of padding."""
    return np.append(text, text[-1:])


def open_tail(folder: Path, tap: str, *, top: str | None = None, threads: int = 1) -> Tail:
    """The backbone in `folder`, cut at `tap` (see `models.cut`); `top` is its default tap if not told.

    Raises CorruptArtefact, ValueError for a tap that there is not, and JobFailed (code
    `unsupported_operator`) where the tail cannot be trained.
    """
    card = read_card(folder)
    files = verify_files(folder, card.files)
    name = top or card.default_tap
    parts = cut(files[GRAPH], tap, name)
    return Tail(
        cut=parts,
        module=GraphModule(onnx.load_model_from_string(parts.tail)),
        top=name,
        preprocessor=preprocessor(card, files),
        trunk=open_session(parts.trunk, threads=threads),
    )
