"""PostgreSQL in the part of SQLite: writers take turns, and a reader sees one moment (ADR 0017)."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, create_engine, event, make_url

_TURN = 0x0D_0E_1A_57
"""The number of the advisory lock that a writer holds to the end of its transaction."""


def open_postgresql(url: str, patience: float) -> Engine:
    """An engine on psycopg; `patience` is how many seconds a lock or a connection is waited for."""
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        pool_timeout=patience,
        max_overflow=20,
        connect_args={
            "connect_timeout": max(2, int(patience)),
            "options": f"-c lock_timeout={int(patience * 1000)}",
        },
    )
    event.listen(engine, "begin", _begin)
    return engine


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("durian_write", False):
        # Read-modify-writes (a version's number, the count of changes) were written for one writer at a time.
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_TURN})")
    else:
        connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
