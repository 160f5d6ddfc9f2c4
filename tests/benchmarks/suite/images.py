"""How large the images are, and how soon their containers are up and down."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tests.benchmarks.registry import Setup, Skipped, benchmark
from tests.benchmarks.results import Row
from tests.image.buildah import here, missing
from tests.image.check import check


@benchmark("Images: sizes and starts", apart=True)
def images(setup: Setup) -> Iterator[Row]:
    """What `make image-test` sees: both cpu images, built by buildah on a base made with debootstrap, started
    with PostgreSQL and a bucket; the demo and a method that needs torch succeed on them, SIGTERM drains, and
    nothing is written outside their volume. Starts are by buildah, in a chroot.
    """
    if os.getuid() != 0 or missing():
        raise Skipped("Root, buildah, debootstrap and postgresql are needed.")
    yield from check(here(), "cpu")
