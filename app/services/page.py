"""Cursor paging as OpenAI's clients do it: `after` names the last row seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

Row = TypeVar("Row")


@dataclass(frozen=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    has_more: bool


def fetch_page(session: Session, query: Select[Row], limit: int) -> Page[Row]:
    """The first `limit` rows of an ordered query, and whether there are more."""
    rows = session.scalars(query.limit(limit + 1)).all()
    return Page(rows[:limit], len(rows) > limit)


def before(query: Select[Row], cursor: Any | None, *keys: InstrumentedAttribute[Any]) -> Select[Row]:
    """Newest first by `keys`, starting behind the row `cursor`."""
    if cursor is not None:
        query = query.where(tuple_(*keys) < tuple_(*(getattr(cursor, key.key) for key in keys)))
    return query.order_by(*(key.desc() for key in keys))
