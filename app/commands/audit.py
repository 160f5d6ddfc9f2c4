"""`durian audit`: who wrote what, from this machine's data directory."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.options import local
from app.commands.output import Columns, Output, moment

COLUMNS: Columns = {
    "line": lambda row: row["seq"],
    "at": lambda row: moment(row["at"]),
    "tenant": lambda row: row["tenant"],
    "key": lambda row: row["key_id"] or None,
    "from": lambda row: row["address"] or None,
    "method": lambda row: row["method"],
    "action": lambda row: row["action"],
    "kind": lambda row: row["kind"],
    "object": lambda row: row["object_id"],
    "digest": lambda row: row["digest"][:12] or None,
    "detail": lambda row: row["detail"] or None,
}


@local
def audit(
    out: Output,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Of this tenant alone.")] = None,
    after: Annotated[int, typer.Option("--after", min=0, help="Go on behind this line.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, max=10_000, help="At most so many.")] = 100,
) -> None:
    """Show who wrote what, when and from where, on this machine's data directory."""
    from app.admin import open_admin

    lines = list(open_admin().audit(tenant, after, limit))
    out.listing({"object": "list", "data": lines}, lines, COLUMNS)
