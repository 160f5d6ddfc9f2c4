"""`python -m training.pretrain spectra FOLDER` writes spectra.npz and concentrations.npz."""

from __future__ import annotations

import argparse
from pathlib import Path

from training.pretrain import sets


def main() -> None:
    """Write the sets that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    spectra = what.add_parser("spectra", help="the example sets of simulated spectra")
    spectra.add_argument("folder", type=Path, help="where to write them")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spectra.npz").write_bytes(sets.spectra())
    (folder / "concentrations.npz").write_bytes(sets.concentrations())


if __name__ == "__main__":
    main()
