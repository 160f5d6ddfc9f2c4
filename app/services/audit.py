"""The audit log, read."""

from __future__ import annotations

from sqlalchemy import select

from app.db.database import Database
from app.db.tables import Audit
from app.services.page import Page, fetch_page


class AuditLog:
    def __init__(self, db: Database) -> None:
        self.db = db

    def read(self, tenant: str | None, after: int, limit: int) -> Page[Audit]:
        """Lines of a tenant, or of all, in the order of the writes, behind the line number `after`."""
        query = select(Audit).where(Audit.seq > after).order_by(Audit.seq)
        if tenant is not None:
            query = query.where(Audit.tenant == tenant)
        with self.db.read() as session:
            return fetch_page(session, query, limit)
