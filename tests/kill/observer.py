"""Reads and hashes everything that is visible under a final name, over and over: `... DATA REPORT`.

What has a name must be whole, always: a blob is its digest, an artefact's manifest is its digest and names
those of its files. Only the standard library, so that it starts at once and looks often.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

TEMPORARY = ".tmp-"
_PAUSE_SECONDS = 0.02
_AGAIN = 50
"""Every so many looks what was whole before is read again."""


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def named(root: Path) -> Iterator[Path]:
    for path in root.glob("??/*"):
        if not path.name.startswith(TEMPORARY):
            yield path


def partial(data: Path, known: set[Path]) -> Iterator[str]:
    """What is visible and not whole. Names in `known` are left out; those that are whole are added to it."""
    for kind, whole in (("blobs", whole_blob), ("artefacts", whole_artefact)):
        for path in named(data / kind):
            if path in known:
                continue
            try:
                fault = whole(path)
            except FileNotFoundError:
                fault = None if not path.exists() else "a file is missing"
            if fault is None:
                known.add(path)
            else:
                yield f"{kind}/{path.name}: {fault}"


def whole_blob(path: Path) -> str | None:
    return None if sha256(path) == path.name else "its bytes are not its digest"


def whole_artefact(folder: Path) -> str | None:
    manifest = folder / "manifest.json"
    if sha256(manifest) != folder.name:
        return "its manifest is not its digest"
    files = json.loads(manifest.read_bytes())["files"]
    wrong = [name for name, digest in files.items() if sha256(folder / name) != digest]
    more = {path.name for path in folder.iterdir()} - {*files, manifest.name}
    return f"wrong: {wrong}, more: {sorted(more)}" if wrong or more else None


def main(data: Path, report: Path) -> None:
    known: set[Path] = set()
    with report.open("a") as out:
        for look in range(1_000_000_000):
            if look % _AGAIN == 0:
                known.clear()
            for fault in partial(data, known):
                print(fault, file=out, flush=True)
            time.sleep(_PAUSE_SECONDS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
