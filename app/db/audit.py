"""The audit log: who wrote what, when and from where, in the transaction of the write itself.

A write session looks at what each flush adds, changes and deletes, so no use case can forget to tell. What is
told never holds a secret or an example.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from sqlalchemy import event, insert
from sqlalchemy.orm import Session

from app.db.tables import Alias, ApiKey, Audit, Base, Dataset, Example, File, Job, Model, Version


@dataclass(frozen=True)
class Actor:
    """Who acts: a key of a tenant, from an address; `method` is the request's, or names what acts itself."""

    tenant: str = ""
    key: str = ""
    address: str = ""
    method: str = "SERVICE"
    request_id: str = ""


_INSERT = insert(Base.metadata.tables[Audit.__tablename__])
_SERVICE = Actor()
acting: ContextVar[Actor] = ContextVar("acting", default=_SERVICE)
"""Whose writes those of this request are; by default the service's own, such as what a job publishes."""


@contextmanager
def acted_by(actor: Actor) -> Iterator[None]:
    """Writes inside are this actor's."""
    token = acting.set(actor)
    try:
        yield
    finally:
        acting.reset(token)


class WriteSession(Session):
    """A session that keeps the audit log."""


@dataclass(frozen=True)
class Subject:
    """What was written: the kind and id of an object, its digest where it has one, a word on the change."""

    tenant: str
    kind: str
    id: str
    digest: str = ""
    detail: str = ""


def note(session: Session, action: str, subject: Subject) -> None:
    """Add a line to the log; for what no flush shows, such as an UPDATE of many rows."""
    session.execute(_INSERT, [_line(action, subject)])


def _line(action: str, subject: Subject) -> dict[str, Any]:
    """A row of `Audit`, as plain values: objects would cost every write half a millisecond more."""
    actor = acting.get()
    return {
        "at": time.time(),
        "tenant": subject.tenant or actor.tenant,
        "key_id": actor.key,
        "address": actor.address[:64],
        "method": actor.method[:16],
        "request_id": actor.request_id,
        "action": action,
        "kind": subject.kind,
        "object_id": subject.id,
        "digest": subject.digest,
        "detail": subject.detail,
    }


@event.listens_for(WriteSession, "before_flush")
def _record(session: Session, _context: object, _instances: object) -> None:
    with session.no_autoflush:
        written = {
            "created": list(session.new),
            "changed": [row for row in session.dirty if _matters(session, row)],
            "deleted": list(session.deleted),
        }
        subjects = ((action, _subjects(session, rows)) for action, rows in written.items())
        lines = [_line(action, subject) for action, found in subjects for subject in found]
        if lines:
            session.execute(_INSERT, lines)


def _matters(session: Session, row: object) -> bool:
    """Changes of labels, aliases and keys do; those of jobs and counters are the service's own business."""
    return isinstance(row, Example | Alias | ApiKey) and session.is_modified(row)


def _subjects(session: Session, rows: list[Any]) -> Iterator[Subject]:
    batches: Counter[tuple[str, str]] = Counter()
    for row in rows:
        if isinstance(row, Example):  # a batch is one line, not a thousand
            batches[row.dataset_id, row.pack] += 1
        elif (subject := _subject(session, row)) is not None:
            yield subject
    for (dataset_id, pack), count in batches.items():
        dataset = session.get_one(Dataset, dataset_id)
        yield Subject(dataset.tenant, "dataset.examples", dataset_id, pack, f"{count} examples")


def _subject(session: Session, row: Any) -> Subject | None:
    match row:
        case File():
            return Subject(row.tenant, "file", row.id, row.blob, f"{row.bytes} bytes")
        case Dataset():
            return Subject(row.tenant, "dataset", row.id)
        case Job():
            return Subject(row.tenant, "fine_tuning.job", row.id, row.request_digest)
        case Model():
            return Subject(row.tenant, "model", row.name)
        case Version():
            model = session.get_one(Model, row.model_id)
            return Subject(model.tenant, "model.version", f"{model.name}:{row.version}", row.artefact)
        case Alias():
            model = session.get_one(Model, row.model_id)
            detail = f"version {row.version}"
            return Subject(model.tenant, "model.alias", f"{model.name}@{row.alias}", detail=detail)
        case ApiKey():
            return Subject(row.tenant, "api_key", row.id, detail="revoked" if row.revoked_at else row.role)
    return None
