"""Objects by key in an S3 bucket: written once, by conditional puts."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    NotFoundError,
    PermissionDeniedError,
    UnauthenticatedError,
)
from obstore.store import S3Store

from app.settings import Settings
from models.errors import Conflict, NotFound, Unavailable

if TYPE_CHECKING:
    from obstore.store import S3Config

_TIMEOUT = timedelta(seconds=120)
_CONNECT_TIMEOUT = timedelta(seconds=3)
_RETRY_FOR = timedelta(seconds=10)
_MIB = 1024 * 1024
_ABSENT = (NotFoundError, FileNotFoundError)
_REFUSED = (PermissionDeniedError, UnauthenticatedError)


@dataclass(frozen=True)
class Stored:
    """One object of a listing; `age` in seconds."""

    key: str
    age: float


class Bucket:
    """Raises Unavailable `store` where the bucket does not answer as it should."""

    def __init__(self, store: S3Store) -> None:
        self._store = store

    def probe(self) -> None:
        """Raises Conflict where the store ignores `If-None-Match`: two writers could overwrite each other."""
        key = f".probe/{secrets.token_hex(8)}"
        if not self.create(key, b"first"):
            raise Conflict("The object store refused a new object as if it were there.", code="bad_store")
        try:
            if self.create(key, b"second"):
                raise Conflict(
                    "The object store ignores conditional puts (If-None-Match): a second put of one key must "
                    "be answered with 412. Use a store, or a release of it, that has them.",
                    code="bad_store",
                )
        finally:
            with suppress(Unavailable):  # it is a few bytes
                self.delete(key)

    def create(self, key: str, data: bytes) -> bool:
        """Store an object where there is none yet; False where there is one."""
        with _reported():
            try:
                # In one request, since an upload in parts cannot be conditional.
                self._store.put(key, data, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
            return True

    def renew(self, key: str, data: bytes) -> None:
        """Store again what is there: it becomes young."""
        with _reported():
            self._store.put(key, data, use_multipart=len(data) > 64 * _MIB)

    def get(self, key: str) -> bytes:
        """Raises NotFound."""
        with _reported():
            return bytes(self._store.get(key).bytes())

    def age(self, key: str) -> float | None:
        """Seconds since it was stored; None where there is no such object."""
        with _reported():
            try:
                return _age(self._store.head(key)["last_modified"])
            except _ABSENT:
                return None

    def list(self, prefix: str) -> Iterator[Stored]:
        """Every object below `prefix`."""
        with _reported():
            for page in self._store.list(prefix):
                yield from (Stored(one["path"], _age(one["last_modified"])) for one in page)

    def delete(self, key: str) -> None:
        with _reported():
            self._store.delete(key)


def open_bucket(settings: Settings) -> Bucket | None:
    """The bucket that the settings name, probed. Raises Unavailable, and Conflict as `probe` or for none."""
    if settings.bucket is None:
        return None
    config: S3Config = {"region": settings.store_region, "conditional_put": "etag"}
    if settings.store_endpoint is not None:
        config["endpoint"] = settings.store_endpoint
    if settings.store_key is not None and settings.store_secret is not None:
        config["access_key_id"] = settings.store_key.get_secret_value()
        config["secret_access_key"] = settings.store_secret.get_secret_value()
    store = S3Store.from_url(
        settings.bucket,
        config=config,
        client_options={
            "allow_http": (settings.store_endpoint or "").startswith("http://"),
            "timeout": _TIMEOUT,
            "connect_timeout": _CONNECT_TIMEOUT,
        },
        retry_config={"max_retries": 3, "retry_timeout": _RETRY_FOR},
    )
    bucket = Bucket(store)
    try:
        bucket.probe()
    except NotFound:
        message = f"There is no {settings.bucket}: make the bucket, or mend the setting `store`."
        raise Conflict(message, code="no_bucket") from None
    return bucket


def _age(modified: datetime) -> float:
    return (datetime.now(UTC) - modified).total_seconds()


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except _ABSENT:
        raise NotFound("The stored content is gone.") from None
    except _REFUSED as error:
        message = "The object store refuses the settings `store_key` and `store_secret`."
        raise Unavailable(message, code="store") from error
    except BaseError as error:
        raise Unavailable("The object store does not answer; try again shortly.", code="store") from error
