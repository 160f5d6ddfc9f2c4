"""`python -m training.pretrain spectra | audio | image | signal ...`: Durian's own data and backbones.

Each recipe is a package with a module `command`: `add_options(parser)` says what it takes and runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from training.pretrain import sets
from training.pretrain.audio import command as audio
from training.pretrain.image import command as image
from training.pretrain.signal import command as signal


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command."""
    parser = argparse.ArgumentParser(prog="python -m training.pretrain", description=__doc__)
    what = parser.add_subparsers(required=True)
    sets.add_options(what.add_parser("spectra", help="the example sets of simulated spectra"))
    audio.add_options(what.add_parser("audio", help="the backbone audio/durian-small"))
    image.add_options(what.add_parser("image", help="the backbone image/durian-small"))
    signal.add_options(what.add_parser("signal", help="the backbone signal/durian-small"))
    given = parser.parse_args(arguments)
    given.run(given)


if __name__ == "__main__":
    main()
