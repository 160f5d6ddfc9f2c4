"""What every process of the service does with its log: one JSON object a line, or text on a terminal.

A line says which request or job it belongs to. It never holds a key, an input or a label: log messages name
codes and ids, and of an exception that nobody foresaw only its type and the places it went through are
written, since its words may quote what a user sent.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import orjson

REQUEST: ContextVar[MutableMapping[str, Any] | None] = ContextVar("request", default=None)
"""The ASGI scope of the request that is being answered; its state has the request's id."""

_FIELDS: ContextVar[Mapping[str, str]] = ContextVar("fields", default={})  # noqa: B039 (never changed)


@contextmanager
def bound(**fields: str) -> Iterator[None]:
    """Add fields, such as `job_id`, to every line of this thread or task."""
    token = _FIELDS.set({**_FIELDS.get(), **fields})
    try:
        yield
    finally:
        _FIELDS.reset(token)


def bind(**fields: str) -> None:
    """`bound`, for a process that does nothing else."""
    _FIELDS.set({**_FIELDS.get(), **fields})


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What a line says."""
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    found: dict[str, Any] = {
        "time": f"{second}.{int(record.msecs):03d}Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": record.getMessage(),
        **_FIELDS.get(),
        **getattr(record, "fields", {}),
    }
    request_id = ((REQUEST.get() or {}).get("state") or {}).get("request_id")
    if request_id is not None:
        found["request_id"] = request_id
    if record.exc_info and record.exc_info[1] is not None:
        found["error"], found["at"] = _exception(record.exc_info[1])
    return found


def _exception(error: BaseException) -> tuple[str, list[str]]:
    """The type and the way, of the error and of what caused it; never its words."""
    kinds: list[str] = []
    at: list[str] = []
    seen: BaseException | None = error
    while seen is not None and len(kinds) < 5:
        kinds.append(type(seen).__name__)
        frames = traceback.extract_tb(seen.__traceback__)
        at += [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames[-12:]]
        seen = seen.__cause__ or seen.__context__
    return " from ".join(kinds), at


class Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return orjson.dumps(fields_of(record), default=str).decode()


class Text(logging.Formatter):
    """The same, for people."""

    def format(self, record: logging.LogRecord) -> str:
        said = fields_of(record)
        head = f"{said.pop('time')} {said.pop('level').upper()} {said.pop('logger')} {said.pop('message')}"
        at = said.pop("at", [])
        tail = " ".join(f"{key}={value}" for key, value in said.items())
        # One line a message, whatever is in it: a name with a line break must not look like a second one.
        line = f"{head} {tail}".strip().replace("\n", "\\n").replace("\r", "\\r")
        return "\n  ".join([line, *at])


def configure() -> None:
    """To stderr, from INFO on. `DURIAN_LOG` is `json`, `text`, or by default text on a terminal alone."""
    asked = os.environ.get("DURIAN_LOG", "text" if sys.stderr.isatty() else "json")
    handler = logging.StreamHandler()
    handler.setFormatter(Text() if asked == "text" else Json())
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it writes whole addresses
