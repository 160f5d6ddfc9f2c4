"""Uploads: validated, folded into a pack, stored by digest, listed."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import File
from app.decoding.decoders import Decoders
from app.services.ids import display_name, new_id, now
from app.services.page import Page, before, fetch_page
from app.services.quotas import UNLIMITED, Quotas
from models.dataset import Pack
from models.errors import InvalidInput, NotFound
from models.store import BlobStore

PURPOSES = ("fine-tune",)
Stored = Callable[[Pack], None]


def file_of(session: Session, tenant: str, file_id: str) -> File:
    """The tenant's file. Raises NotFound."""
    row = session.get(File, file_id)
    if row is None or row.tenant != tenant:
        raise NotFound("No such file.", param="file_id")
    return row


def grid_json(pack: Pack) -> dict[str, float] | None:
    """The reference grid of a pack of signals, as its table column holds it."""
    return None if pack.input.grid is None else pack.input.grid.model_dump()


class Files:
    """`stored` is told of every new pack, so that its features can be computed ahead of any job."""

    def __init__(
        self,
        db: Database,
        blobs: BlobStore,
        decoders: Decoders,
        stored: Stored,
        quotas: Quotas = UNLIMITED,
    ) -> None:
        self.db = db
        self.blobs = blobs
        self.decoders = decoders
        self.stored = stored
        self.quotas = quotas

    def create(
        self, tenant: str, filename: str, data: bytes, purpose: str, modality: str | None, task: str | None
    ) -> File:
        """Validate an upload and store it; nothing is kept of one that fails."""
        if purpose not in PURPOSES:
            raise InvalidInput("purpose must be fine-tune.", code="bad_purpose", param="purpose")
        pack = self.decoders.read_pack(filename, data, modality=modality, task=task)
        row = self._row(tenant, filename, data, purpose, pack)
        with self.db.write() as session:
            self.quotas.check(session, tenant, nbytes=row.bytes, examples=row.examples)
            session.add(row)
        self.stored(pack)
        return row

    def _row(self, tenant: str, filename: str, data: bytes, purpose: str, pack: Pack) -> File:
        return File(
            id=new_id("file"),
            tenant=tenant,
            created_at=now(),
            filename=display_name(filename),
            purpose=purpose,
            bytes=len(data),
            blob=self.blobs.put(data),
            pack=self.blobs.put(pack.to_bytes()),
            modality=pack.input.modality,
            task=pack.task,
            grid=grid_json(pack),
            examples=len(pack),
            unlabelled=pack.unlabelled,
            labels=pack.counts(),
            warnings=list(pack.warnings),
        )

    def get(self, tenant: str, file_id: str) -> File:
        with self.db.read() as session:
            return file_of(session, tenant, file_id)

    def list(self, tenant: str, purpose: str | None, after: str | None, limit: int) -> Page[File]:
        """Newest first."""
        with self.db.read() as session:
            query = select(File).where(File.tenant == tenant)
            if purpose is not None:
                query = query.where(File.purpose == purpose)
            cursor = None if after is None else file_of(session, tenant, after)
            return fetch_page(session, before(query, cursor, File.created_at, File.id), limit)

    def content(self, tenant: str, file_id: str) -> tuple[File, bytes]:
        """The original bytes, as uploaded."""
        row = self.get(tenant, file_id)
        return row, self.blobs.get(row.blob)

    def delete(self, tenant: str, file_id: str) -> None:
        """Forget the file; its blobs go with the next sweep, unless something else holds them."""
        with self.db.write() as session:
            session.delete(file_of(session, tenant, file_id))
