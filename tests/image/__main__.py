"""`make image-test`: builds the images, starts both with PostgreSQL and a bucket, runs the demo on them.

Needs root and Debian's packages buildah, debootstrap and postgresql. Takes ten minutes and 20 GB of disk.
"""

from __future__ import annotations

import argparse
import sys

from tests.benchmarks.run import line
from tests.image import buildah
from tests.image.check import check


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variant", default="cpu", choices=("cpu", "gpu"))
    given = parser.parse_args()
    if lacking := buildah.missing():
        sys.exit(f"not here: {', '.join(lacking)}; see this file's head")
    rows = []
    for row in check(buildah.here(), given.variant):
        rows.append(row)
        print(line(row), flush=True)
    if any(row.met is False for row in rows):
        sys.exit("a figure is not as asked")
    print("the images do what they should")


if __name__ == "__main__":
    main()
