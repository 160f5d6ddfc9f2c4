"""One end of a job: a log of its transitions, and triggers that let it end once

Both are kept by the database itself, whatever statement changes a status. SQLite drops a table's triggers
with the table: a later migration that rebuilds `jobs` (batch mode) has to make them again.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_ENDED = "OLD.status IN ('succeeded', 'failed', 'cancelled') AND NEW.status <> OLD.status"
_LOG = """INSERT INTO job_transitions (job_id, at, before, after, fence)
    VALUES (NEW.id, {now}, {before}, NEW.status, NEW.fence)"""

_SQLITE = (
    f"""CREATE TRIGGER job_ends_once BEFORE UPDATE OF status ON jobs WHEN {_ENDED}
    BEGIN SELECT RAISE(ABORT, 'a job ends once'); END""",
    f"""CREATE TRIGGER job_made AFTER INSERT ON jobs
    BEGIN {_LOG.format(now="(julianday('now') - 2440587.5) * 86400.0", before="NULL")}; END""",
    f"""CREATE TRIGGER job_moved AFTER UPDATE OF status ON jobs WHEN NEW.status <> OLD.status
    BEGIN {_LOG.format(now="(julianday('now') - 2440587.5) * 86400.0", before="OLD.status")}; END""",
)
_POSTGRESQL = (
    f"""CREATE FUNCTION job_ends_once() RETURNS trigger AS $$ BEGIN
    IF {_ENDED} THEN
    RAISE EXCEPTION 'a job ends once' USING ERRCODE = 'integrity_constraint_violation'; END IF;
    RETURN NEW; END $$ LANGUAGE plpgsql""",
    f"""CREATE FUNCTION job_made() RETURNS trigger AS $$ BEGIN
    {_LOG.format(now="extract(epoch from clock_timestamp())", before="NULL")};
    RETURN NEW; END $$ LANGUAGE plpgsql""",
    f"""CREATE FUNCTION job_moved() RETURNS trigger AS $$ BEGIN
    IF NEW.status <> OLD.status THEN
    {_LOG.format(now="extract(epoch from clock_timestamp())", before="OLD.status")}; END IF;
    RETURN NEW; END $$ LANGUAGE plpgsql""",
    """CREATE TRIGGER job_ends_once BEFORE UPDATE OF status ON jobs
    FOR EACH ROW EXECUTE FUNCTION job_ends_once()""",
    "CREATE TRIGGER job_made AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION job_made()",
    """CREATE TRIGGER job_moved AFTER UPDATE OF status ON jobs
    FOR EACH ROW EXECUTE FUNCTION job_moved()""",
)
_NAMES = ("job_ends_once", "job_made", "job_moved")


def upgrade() -> None:
    op.create_table(
        "job_transitions",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("at", sa.Float(precision=53), nullable=False),
        sa.Column("before", sa.String(length=20), nullable=True),
        sa.Column("after", sa.String(length=20), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("ix_job_transitions_job_id", "job_transitions", ["job_id"])
    op.create_index("jobs_turn", "jobs", ["tenant", "started_at"])
    op.execute(
        "INSERT INTO job_transitions (job_id, at, before, after, fence) "
        "SELECT id, COALESCE(finished_at, started_at, created_at), NULL, status, fence FROM jobs"
    )
    for statement in _SQLITE if op.get_bind().dialect.name == "sqlite" else _POSTGRESQL:
        op.execute(statement)


def downgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for name in _NAMES:
        op.execute(f"DROP TRIGGER {name}" if sqlite else f"DROP FUNCTION {name}() CASCADE")
    op.drop_index("jobs_turn", "jobs")
    op.drop_table("job_transitions")
