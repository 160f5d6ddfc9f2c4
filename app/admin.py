"""What an administrator does on the data directory itself, without the service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.db.database import Database
from app.services.keys import Keys
from app.settings import Settings


class Admin:
    """Keys, straight from the database."""

    def __init__(self, settings: Settings) -> None:
        db = Database(settings.database_url)
        db.migrate()
        self._keys = Keys(db, settings.pepper_file)

    def create_key(self, tenant: str, role: str, expires_in_days: float | None = None) -> str:
        """A new key; it is shown this once."""
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
        """Takes effect on the next request."""
        self._keys.revoke(key_id)


def open_admin() -> Admin:
    return Admin(Settings())
