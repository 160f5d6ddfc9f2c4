"""The example sets that come from the simulator, as the bytes of their files."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from training.pretrain.materials import COMPOUNDS, WORT
from training.pretrain.spectra import simulate

SEED = 2024
DECIMALS = 5
"""Of the stored values: the last bits of an exponential differ between processors, these do not."""


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
