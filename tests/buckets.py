"""S3 for tests: moto's server with an empty bucket."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

NAME = "durian"


@contextmanager
def s3() -> Iterator[str]:
    """The address of a store that has the bucket `NAME`."""
    with empty_s3() as address:
        httpx.put(f"{address}/{NAME}").raise_for_status()
        yield address


@contextmanager
def empty_s3() -> Iterator[str]:
    """The address of a store without buckets."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


def settings_of(address: str) -> dict[str, str]:
    """What a service is told of the bucket."""
    return {
        "store": f"s3://{NAME}/some/prefix",
        "store_endpoint": address,
        "store_key": "key",
        "store_secret": "not a secret",
    }
