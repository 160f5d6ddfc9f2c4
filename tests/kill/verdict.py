"""What a run of kills did: acknowledged and lost, ended twice, published twice, partial, left over."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.kill.load import ENDED, Acks
from tests.kill.observer import TEMPORARY, named, partial

_TABLES = {"file": "files", "job": "jobs", "dataset": "datasets", "example": "examples"}


def verdict(data: Path, acks: Path, seen: Path) -> list[str]:
    """Every violation, in words; for a data folder whose service has been started anew and stopped again.

    `acks` is the clients' log, `seen` what the observer reported.
    """
    db = sqlite3.connect(f"file:{data / 'durian.sqlite'}?mode=ro", uri=True)
    try:
        return [
            *lost(db, acks),
            *ended_wrongly(db),
            *published_wrongly(db),
            *(f"partial: {line}" for line in seen.read_text().splitlines()),
            *(f"partial: {line}" for line in partial(data, set())),
            *gone(db, data),
            *left_over(data),
        ]
    finally:
        db.close()


def lost(db: sqlite3.Connection, acks: Path) -> Iterator[str]:
    """What was acknowledged and is not there, or is there in another state."""
    known = {kind: {id for (id,) in db.execute(f"SELECT id FROM {table}")} for kind, table in _TABLES.items()}
    status = dict(db.execute("SELECT id, status FROM jobs"))
    keys: dict[str, str] = {}
    for ack in Acks.read(acks):
        if ack["kind"] == "end":
            if status.get(ack["id"]) != ack["status"]:
                yield f"lost: the end of {ack['id']}: {ack['status']}, now {status.get(ack['id'])}"
        elif ack["id"] not in known[ack["kind"]]:
            yield f"lost: {ack['kind']} {ack['id']}"
        if ack["kind"] == "job" and keys.setdefault(ack["key"], ack["id"]) != ack["id"]:
            yield f"doubled: one key, jobs {keys[ack['key']]} and {ack['id']}"


def ended_wrongly(db: sqlite3.Connection) -> Iterator[str]:
    """Jobs without an end, with two, or with a failure: every job of the load can succeed."""
    ends = Counter(
        id for id, after in db.execute("SELECT job_id, after FROM job_transitions") if after in ENDED
    )
    for id, status, error in db.execute("SELECT id, status, error FROM jobs"):
        if status not in ENDED:
            yield f"not ended: {id} is {status}"
        elif ends[id] != 1:
            yield f"ended {ends[id]} times: {id}"
        if status == "failed":
            yield f"failed by no fault of its own: {id}, {json.loads(error)['code']}"


def published_wrongly(db: sqlite3.Connection) -> Iterator[str]:
    """Versions that are not one to one with the jobs that succeeded."""
    versions = Counter(job for (job,) in db.execute("SELECT job_id FROM versions"))
    succeeded = {
        id: json.loads(result)
        for id, result in db.execute("SELECT id, result FROM jobs WHERE status = 'succeeded'")
    }
    for job in versions.keys() | succeeded.keys():
        if versions[job] != 1 or job not in succeeded:
            yield f"published {versions[job]} times: {job}, which succeeded: {job in succeeded}"
    for job, artefact in db.execute("SELECT job_id, artefact FROM versions"):
        if job in succeeded and succeeded[job]["digest"] != artefact:
            yield f"published another artefact than its result: {job}"


def gone(db: sqlite3.Connection, data: Path) -> Iterator[str]:
    """Bytes that a row names and the disk has not."""
    for (digest,) in db.execute("SELECT artefact FROM versions"):
        if not (data / "artefacts" / digest[:2] / digest).is_dir():
            yield f"lost: artefact {digest}"
    for query in ("SELECT blob FROM files", "SELECT pack FROM files", "SELECT pack FROM examples"):
        for (digest,) in db.execute(query):
            if not (data / "blobs" / digest[:2] / digest).is_file():
                yield f"lost: blob {digest}"


def left_over(data: Path) -> Iterator[str]:
    """Temporaries and work folders: the last start must have cleared them away."""
    for path in [*data.glob(f"*/??/{TEMPORARY}*"), *data.glob("work/*")]:
        yield f"left over: {path.relative_to(data)}"


def stored(data: Path) -> str:
    """A digest of every final name, to compare two moments."""
    names = sorted(path.name for kind in ("blobs", "artefacts") for path in named(data / kind))
    return hashlib.sha256("".join(names).encode()).hexdigest()
