"""What an administrator does on the data directory itself, without the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import inspect

from app.db.audit import Actor, acted_by
from app.db.database import Database
from app.db.tables import Audit
from app.services.audit import AuditLog
from app.services.keys import Keys
from app.settings import Settings

_HERE = Actor(method="COMMAND", address="this machine")


class Admin:
    """Keys and the audit log, straight from the database."""

    def __init__(self, settings: Settings) -> None:
        db = Database(settings.database_url)
        db.migrate()
        self._keys = Keys(db, settings.pepper_file)
        self._audit = AuditLog(db)

    def create_key(self, tenant: str, role: str, expires_in_days: float | None = None) -> str:
        """A new key; it is shown this once."""
        with acted_by(_HERE):
            return self._keys.create(tenant, role, expires_in_days)

    def list_keys(self) -> Sequence[dict[str, Any]]:
        """Every key without its secret."""
        return [
            {
                "id": key.id,
                "tenant": key.tenant,
                "role": key.role,
                "created_at": int(key.created_at),
                "expires_at": key.expires_at,
                "revoked_at": key.revoked_at,
            }
            for key in self._keys.list()
        ]

    def revoke_key(self, key_id: str) -> None:
        """Takes effect within a second."""
        with acted_by(_HERE):
            self._keys.revoke(key_id)

    def audit(self, tenant: str | None, after: int, limit: int) -> Sequence[dict[str, Any]]:
        """Lines of the audit log, of one tenant or of all."""
        rows = self._audit.read(tenant, after, limit).rows
        return [{column.key: getattr(row, column.key) for column in inspect(Audit).columns} for row in rows]


def open_admin() -> Admin:
    return Admin(Settings())
