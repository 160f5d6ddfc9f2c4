"""API keys `dk_<id>_<secret>`: shown once, stored as HMAC-SHA-256, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from sqlalchemy import func, select

from app.db.database import Database
from app.db.tables import ApiKey
from app.services.ids import check_name, now
from models.errors import InvalidInput, NotFound, Unauthorized
from models.store import fsync_folder, write_file

Role = Literal["reader", "writer", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
DEFAULT_TENANT = "default"
_DAY = 86_400.0
_REFUSED = "The API key is missing or not valid; send `Authorization: Bearer <key>`."


@dataclass(frozen=True)
class Identity:
    """Who is asking."""

    tenant: str
    role: Role
    key: str = ""
    """The key's id; empty where the service is open."""

    def may_write(self) -> bool:
        return self.role != "reader"


class Keys:
    """Keys of all tenants. `pepper` is a secret file beside the database."""

    def __init__(self, db: Database, pepper: Path) -> None:
        self.db = db
        self._pepper_file = pepper

    def create(self, tenant: str, role: str, expires_in_days: float | None = None) -> str:
        """A new key, in full: it cannot be shown again."""
        if role not in ROLES:
            raise InvalidInput(f"role must be one of {', '.join(ROLES)}.", param="role")
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32).replace("_", "-")
        row = ApiKey(
            id=key_id,
            tenant=check_name(tenant, "tenant"),
            role=role,
            secret_hash=self._hash(secret),
            created_at=now(),
            expires_at=None if expires_in_days is None else now() + expires_in_days * _DAY,
            revoked_at=None,
        )
        with self.db.write() as session:
            session.add(row)
        return f"dk_{key_id}_{secret}"

    def list(self) -> Sequence[ApiKey]:
        with self.db.read() as session:
            return session.scalars(select(ApiKey).order_by(ApiKey.created_at)).all()

    def revoke(self, key_id: str) -> None:
        with self.db.write() as session:
            row = session.get(ApiKey, key_id)
            if row is None:
                raise NotFound("No such key.", param="key_id")
            row.revoked_at = row.revoked_at or now()

    def any(self) -> bool:
        with self.db.read(hasty=True) as session:
            return bool(session.scalar(select(func.count()).select_from(ApiKey)))

    def identify(self, key: str) -> Identity:
        """Who holds this key. Raises Unauthorized."""
        key_id, secret = _split(key)
        with self.db.read(hasty=True) as session:
            row = session.get(ApiKey, key_id)
        # An unknown id costs the same comparison as a wrong secret.
        expected = row.secret_hash if row is not None else "0" * 64
        right = hmac.compare_digest(self._hash(secret), expected)
        if row is None or not right or row.revoked_at is not None:
            raise Unauthorized(_REFUSED)
        if row.expires_at is not None and row.expires_at < now():
            raise Unauthorized("This API key has expired; ask for a new one.", code="expired_api_key")
        return Identity(row.tenant, row.role, row.id)  # type: ignore[arg-type]  # create() checks it

    def _hash(self, secret: str) -> str:
        return hmac.new(self._pepper(), secret.encode(), hashlib.sha256).hexdigest()

    def _pepper(self) -> bytes:
        try:
            return self._pepper_file.read_bytes()
        except FileNotFoundError:
            return self._first_pepper()

    def _first_pepper(self) -> bytes:
        """Readable by its owner alone from the start. Where two processes make one, the first counts."""
        made = self._pepper_file.with_suffix(f".{secrets.token_hex(8)}")
        write_file(made, secrets.token_bytes(32))
        with suppress(FileExistsError):
            os.link(made, self._pepper_file)
        made.unlink()
        fsync_folder(self._pepper_file.parent)
        return self._pepper_file.read_bytes()


def _split(key: str) -> tuple[str, str]:
    parts = key.split("_")
    if len(parts) != 3 or parts[0] != "dk":
        raise Unauthorized(_REFUSED)
    return parts[1], parts[2]
