"""A backup: one tar of the rows, at one moment, and of every file they name. Taken while the service runs.

The rows are read in one transaction, then the files: these never change, and the sweep leaves what was named
within the hour. Were one deleted and swept all the same, the rows are read anew. Rows are JSON lines, so a
backup of SQLite can be restored into PostgreSQL, and of a folder into a bucket.
"""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import orjson
from sqlalchemy import Integer, Table, delete, func, insert, select, text
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import Base
from app.services.artefacts import Artefacts
from models import __version__
from models.errors import Conflict, CorruptArtefact, InvalidInput, NotFound
from models.manifest import MANIFEST
from models.store import BlobStore, fsync_folder

FORMAT = 1
_ABOUT = "backup.json"
_NOT_KEPT = frozenset({"workers"})
"""What is only true of the moment."""

_TRIES = 3
_CHUNK = 500
Rows = dict[str, list[dict[str, Any]]]


class Backup:
    """`write` one, `restore` one. `extras` are names in the data folder that go along as they are."""

    def __init__(
        self, db: Database, blobs: BlobStore, artefacts: Artefacts, data: Path, extras: Sequence[str]
    ) -> None:
        self.db = db
        self.blobs = blobs
        self.artefacts = artefacts
        self.data = data
        self.extras = extras

    def write(self, target: Path) -> dict[str, int]:
        """Write a backup to a new file; how many rows and files it holds. Raises Conflict, NotFound."""
        if target.exists():
            raise Conflict(f"There is a file {target} already; nothing is overwritten.", code="exists")
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=".tmp-", delete=False) as file:
            try:
                told = self._write_patiently(file)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o600)
                os.rename(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
        fsync_folder(target.parent)
        return told

    def _write_patiently(self, file: IO[bytes]) -> dict[str, int]:
        for tries_left in reversed(range(_TRIES)):
            file.seek(0)
            file.truncate()
            try:
                return self._write(file)
            except (NotFound, CorruptArtefact):
                # It was deleted since the rows were read, or it is really gone: then it will be again.
                if not tries_left:
                    raise
        raise AssertionError

    def _write(self, file: IO[bytes]) -> dict[str, int]:
        with self.db.read() as session:
            rows, revision = _rows(session), _revision(session)
        about = {"format": FORMAT, "durian": __version__, "schema": revision, "created": int(time.time())}
        blobs, artefacts = _blobs(rows), sorted({row["artefact"] for row in rows["versions"]})
        with tarfile.open(fileobj=file, mode="w", dereference=True) as tar:
            _add(tar, _ABOUT, orjson.dumps(about))
            for name, table in rows.items():
                _add(tar, f"tables/{name}.jsonl", b"".join(orjson.dumps(row) + b"\n" for row in table))
            for digest in blobs:
                _add(tar, f"blobs/{digest}", self.blobs.get(digest))
            for digest in artefacts:
                manifest, files = self.artefacts.load(digest)
                for name, data in {**files, MANIFEST: manifest.canonical()}.items():
                    _add(tar, f"artefacts/{digest}/{name}", data)
            for extra in self.extras:
                if (self.data / extra).exists():
                    tar.add(self.data / extra, f"data/{extra}")
        return {
            "rows": sum(map(len, rows.values())),
            "uploads and examples": len(blobs),
            "models": len(artefacts),
        }

    def restore(self, source: Path) -> dict[str, int]:
        """Fill an empty database and data folder from a backup; what it held.

        Files come before the rows that name them, so a restore that breaks off leaves the database empty.
        Raises InvalidInput for what is no backup or is damaged, Conflict where there is something already.
        """
        try:
            with tarfile.open(source, "r:") as tar:
                return self._restore(tar)
        except tarfile.TarError:
            raise InvalidInput(f"{source} is no backup, or is cut off.", code="bad_backup") from None

    def _restore(self, tar: tarfile.TarFile) -> dict[str, int]:
        members = {member.name: member for member in tar}
        about = orjson.loads(_read(tar, members, _ABOUT))
        self._check(about)
        blobs = [name for name in members if name.startswith("blobs/")]
        for name in blobs:
            if self.blobs.put(_read(tar, members, name)) != name.partition("/")[2]:
                raise InvalidInput(f"The backup is damaged: {name} is not what it was.", code="bad_backup")
        digests = {name.split("/")[1] for name in members if name.startswith("artefacts/")}
        for digest in sorted(digests):
            self._admit(tar, members, digest)
        self._extract(tar, members)
        tables = [name for name in members if name.startswith("tables/")]
        rows = {Path(name).stem: _lines(_read(tar, members, name)) for name in tables}
        with self.db.write() as session:
            _insert(session, rows)
        return {
            "rows": sum(map(len, rows.values())),
            "uploads and examples": len(blobs),
            "models": len(digests),
        }

    def _check(self, about: Mapping[str, Any]) -> None:
        with self.db.read() as session:
            revision, filled = _revision(session), any(_filled(session))
        if about["format"] != FORMAT or about["schema"] != revision:
            raise Conflict(
                f"The backup is of Durian {about['durian']} (schema {about['schema']}); this one has schema "
                f"{revision}. Restore it with that release, then start this one, which brings it up to date.",
                code="other_schema",
            )
        if filled:
            raise Conflict("The database is not empty: restore into a new one.", code="not_empty")

    def _admit(self, tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], digest: str) -> None:
        prefix = f"artefacts/{digest}/"
        self.artefacts.root.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".tmp-", dir=self.artefacts.root))
        try:
            for name in (name for name in members if name.startswith(prefix)):
                (folder / Path(name).name).write_bytes(_read(tar, members, name))
            if self.artefacts.admit(folder).digest != digest:
                raise InvalidInput(f"The backup is damaged: the model {digest}.", code="bad_backup")
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _extract(self, tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo]) -> None:
        """Files and folders, by names that lead nowhere else. (tarfile's own filter for that came with Python
        3.11.4.)"""
        for name in (name for name in members if name.startswith("data/")):
            member, (_, *parts) = members[name], PurePosixPath(name).parts
            if ".." in parts or not (member.isfile() or member.isdir()):
                raise InvalidInput(f"The backup is damaged: {name}.", code="bad_backup")
            target = self.data.joinpath(*parts)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
            else:
                _write_to(target, _read(tar, members, name), member.mode & 0o755 | 0o600)


def _rows(session: Session) -> Rows:
    kept = [table for table in Base.metadata.sorted_tables if table.name not in _NOT_KEPT]
    return {table.name: _plain(session, table) for table in kept}


def _plain(session: Session, table: Table) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in session.execute(select(table)).mappings()]


def _revision(session: Session) -> str:
    return str(session.scalar(text("SELECT version_num FROM alembic_version")))


def _filled(session: Session) -> Iterator[bool]:
    for table in Base.metadata.sorted_tables:
        if table.name not in _NOT_KEPT:
            yield bool(session.scalar(select(func.count()).select_from(table)))


def _blobs(rows: Rows) -> list[str]:
    """The digests of everything that rows name in the blob store."""
    named = {row[column] for row in rows["files"] for column in ("blob", "pack")}
    named |= {row["pack"] for row in rows["examples"]}
    active = (row for row in rows["jobs"] if row["finished_at"] is None)
    named |= {digest for row in active for digest in row["spec"].get("packs", {}).values() if digest}
    return sorted(named)


def _insert(session: Session, rows: Rows) -> None:
    """In the order that foreign keys ask for. What triggers have written about earlier tables gives way."""
    for table in Base.metadata.sorted_tables:
        found = rows.get(table.name, [])
        session.execute(delete(table))
        for start in range(0, len(found), _CHUNK):
            session.execute(insert(table), found[start : start + _CHUNK])
        keys = [column for column in table.primary_key if isinstance(column.type, Integer)]
        if found and len(keys) == 1 and keys[0].autoincrement is True and _postgresql(session):
            _count_on(session, table.name, keys[0].name)


def _postgresql(session: Session) -> bool:
    return session.get_bind().dialect.name == "postgresql"


def _count_on(session: Session, table: str, column: str) -> None:
    """A sequence does not know of the numbers that were given to it."""
    largest = f"(SELECT max({column}) FROM {table})"  # noqa: S608 (our own names)
    session.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', '{column}'), {largest})"))


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
    tar.addfile(member, io.BytesIO(data))


def _read(tar: tarfile.TarFile, members: Mapping[str, tarfile.TarInfo], name: str) -> bytes:
    file = tar.extractfile(members[name]) if name in members else None
    if file is None:
        raise InvalidInput(f"The backup lacks {name}.", code="bad_backup")
    return file.read()


def _write_to(target: Path, data: bytes, mode: int) -> None:
    """The mode first: what is secret is so from its first byte on."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(data)


def _lines(data: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in data.splitlines()]
