"""Each model says when its versions and aliases last changed, so that a reader takes only what is new

The numbers are kept by the database itself, whatever statement changes a row, so no write can forget to
name its model. A deleted model cannot say anything: `whole` is the last change that only a reading of
everything shows. SQLite drops a table's triggers with the table: a later migration that rebuilds `models`,
`versions` or `aliases` (batch mode) has to make them again.
"""

from __future__ import annotations

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_WRITES = {  # of a version only its number and artefact are served, and they never change
    "versions": {"INSERT": "NEW", "DELETE": "OLD"},
    "aliases": {"INSERT": "NEW", "UPDATE": "NEW", "DELETE": "OLD"},
}
_COUNT = """INSERT INTO changes (id, n, whole) VALUES (1, 1, 0)
    ON CONFLICT (id) DO UPDATE SET n = changes.n + 1"""
_COUNT_WHOLE = """INSERT INTO changes (id, n, whole) VALUES (1, 1, 1)
    ON CONFLICT (id) DO UPDATE SET n = changes.n + 1, whole = changes.n + 1"""
_NAME = "UPDATE models SET changed = (SELECT n FROM changes) WHERE id = {}.model_id"


def _triggers() -> Iterator[tuple[str, str, str, str]]:
    """Name, event, table and statements of each."""
    for table, events in _WRITES.items():
        for event, row in events.items():
            yield f"{table}_{event.lower()}", event, table, f"{_COUNT}; {_NAME.format(row)};"
    yield "models_delete", "DELETE", "models", f"{_COUNT_WHOLE};"


def upgrade() -> None:
    op.add_column("models", sa.Column("changed", sa.Integer(), server_default="0", nullable=False))
    op.create_index("ix_models_changed", "models", ["changed"])
    op.add_column("changes", sa.Column("whole", sa.Integer(), server_default="0", nullable=False))
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name, event, table, body in _triggers():
        when = f"CREATE TRIGGER {name} AFTER {event} ON {table} FOR EACH ROW"
        if sqlite:
            op.execute(f"{when} BEGIN {body} END")
        else:
            op.execute(f"CREATE FUNCTION {name}() RETURNS trigger AS $$ BEGIN {body} "
                       "RETURN NULL; END $$ LANGUAGE plpgsql")  # fmt: skip
            op.execute(f"{when} EXECUTE FUNCTION {name}()")


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name, *_ in _triggers():
        op.execute(f"DROP TRIGGER {name}" if sqlite else f"DROP FUNCTION {name}() CASCADE")
    op.drop_column("changes", "whole")
    op.drop_index("ix_models_changed", "models")
    op.drop_column("models", "changed")
