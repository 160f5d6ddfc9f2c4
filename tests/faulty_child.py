"""A training side that goes wrong as a job's seed says: what the worker has to tell apart."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from training import child

ALLOCATES, HANGS, DIES_TWICE, DIES, NATIVE_OOM = range(101, 106)
GIB = 1 << 30
describe = child.describe


def main(spec_path: str, connection: Any) -> None:
    child.die_with_parent()
    seed = json.loads(Path(spec_path).read_bytes())["seed"]
    fence = int(Path(spec_path).parent.name.rpartition("-")[2])
    if seed == HANGS:
        time.sleep(1_000)
    if seed == DIES or (seed == DIES_TWICE and fence < 3):
        os.kill(os.getpid(), signal.SIGKILL)
    if seed in (ALLOCATES, NATIVE_OOM):
        connection.send(child._answer(_allocate if seed == ALLOCATES else _native))
        connection.close()
        return
    child.run(spec_path, connection)


def _allocate() -> dict[str, Any]:
    return {"done": {"bytes": len(bytearray(3 * GIB))}}


def _native() -> dict[str, Any]:
    raise RuntimeError("std::bad_alloc")
