"""What every process of the service does with its log."""

from __future__ import annotations

import logging


def configure() -> None:
    """To stderr, with times, from INFO on."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
