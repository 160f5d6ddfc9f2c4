"""The example sets that come from the simulator, as the bytes of their files."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.pretrain.materials import COMPOUNDS, WORT
from training.pretrain.spectra import simulate

SEED = 2024
DECIMALS = 5
"""Of the stored values: the last bits of an exponential differ between processors, these do not."""


def add_options(command: argparse.ArgumentParser) -> None:
    """What `python -m training.pretrain spectra` takes, and what it runs."""
    command.add_argument("folder", type=Path, help="where to write spectra.npz and concentrations.npz")
    command.set_defaults(run=write)


def write(given: argparse.Namespace) -> None:
    """Write both sets."""
    folder: Path = given.folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spectra.npz").write_bytes(spectra())
    (folder / "concentrations.npz").write_bytes(concentrations())


def spectra() -> bytes:
    """Which food is it? npz: `x` [600, 200] absorbance, `y` [600] names, `grid` [200] nm."""
    made = simulate(600, SEED)
    return _npz(made.x, np.array(made.labels), made.grid)


def concentrations() -> bytes:
    """How much ethanol? npz: `x` [120, 200] absorbance, `y` [120] kg/m³, `grid` [200] nm."""
    made = simulate(120, SEED, materials=[WORT])
    ethanol = [compound.name for compound in COMPOUNDS].index("ethanol")
    return _npz(made.x, np.round(made.concentrations[:, ethanol], DECIMALS), made.grid)


def _npz(x: NDArray[np.float32], y: NDArray[np.generic], grid: NDArray[np.float64]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, x=np.round(x, DECIMALS), y=y, grid=grid)
    return buffer.getvalue()
