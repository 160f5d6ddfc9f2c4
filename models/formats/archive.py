"""Zip archives of strangers: what may be in one, checked before a byte is inflated.

The standard library (before 3.11.8) accepts overlapping entries, and always duplicates, links and rare
compressions; so each of these is refused here.
"""

from __future__ import annotations

import io
import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from models.errors import DurianError, InvalidInput, TooLarge
from models.formats.rows import MAX_BYTES
from models.modalities.faults import fault, out_of_memory

MAX_MEMBERS = 5_000
MAX_MEMBER = 256_000_000
_SMALL = 16_000_000
_RATIO = 100
"""What is above `_SMALL`, in one member or in all, may not inflate more than this: media hardly compress,
bombs 1000-fold."""

_ENTRY = b"PK\x01\x02"
_LOCAL_HEADER = 30
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_PLAIN = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_DRIVE = re.compile(r"[A-Za-z]:")
_JUNK = {".DS_Store", "Thumbs.db", "desktop.ini"}


@contextmanager
def opened(data: bytes) -> Iterator[zipfile.ZipFile]:
    """The archive, once its entries passed every check; a broken one is InvalidInput `undecodable`."""
    _check_entries(data.count(_ENTRY))  # before the directory is built in memory
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check(archive)
            yield archive
    except DurianError:
        raise
    except MemoryError:
        raise out_of_memory("file") from None
    except Exception:  # BadZipFile, zlib.error, EOFError, struct.error, RuntimeError, NotImplementedError
        raise InvalidInput(
            "The archive is corrupt or truncated. Pack it again.", code="undecodable", param="file"
        ) from None


def files(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The members that are files, without what operating systems leave behind."""
    return [entry for entry in archive.infolist() if not entry.is_dir() and not _junk(entry.filename)]


def member_place(index: int, entry: zipfile.ZipInfo) -> str:
    """How messages name a member: by its name where that is plain, else by its number."""
    name = entry.filename
    return name if name.isprintable() and len(name) <= 200 else f"member {index}"


def _junk(name: str) -> bool:
    folders, _, last = name.rpartition("/")
    return last in _JUNK or last.startswith("._") or "__MACOSX" in folders.split("/")


def _check_entries(count: int) -> None:
    if count > MAX_MEMBERS:
        raise InvalidInput(
            f"The archive has over {MAX_MEMBERS:,} members. Split it.", code="too_many_members", param="file"
        )


def _check(archive: zipfile.ZipFile) -> None:
    entries = archive.infolist()
    _check_entries(len(entries))
    for index, entry in enumerate(entries, 1):
        where = member_place(index, entry)
        _check_name(f"member {index}", entry)
        _check_kind(where, entry)
    if len({entry.filename for entry in entries}) < len(entries):
        raise _unsupported("file", "two members have the same name")
    _check_overlap(entries, archive.start_dir)
    _check_sizes(entries)


def _check_name(where: str, entry: zipfile.ZipInfo) -> None:
    name = entry.orig_filename  # `filename` is already cut at NUL
    unsafe = "\0" in name or "\\" in name or name.startswith("/") or _DRIVE.match(name)
    if unsafe or ".." in name.split("/"):
        raise fault(where, "the member's name must be a relative path inside the archive.", "archive_path")


def _check_kind(where: str, entry: zipfile.ZipInfo) -> None:
    mode = stat.S_IFMT(entry.external_attr >> 16)
    if mode not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise fault(where, "the member is a link or device. Pack the file itself.", "archive_link")
    if entry.flag_bits & _ENCRYPTED:
        raise _unsupported(where, "the member is encrypted")
    if entry.compress_type not in _PLAIN:
        raise _unsupported(where, "the member's compression is neither stored nor deflate")


def _check_sizes(entries: Sequence[zipfile.ZipInfo]) -> None:
    """By what the directory promises: `zipfile` inflates no byte more than that."""
    for index, entry in enumerate(entries, 1):
        if entry.file_size > MAX_MEMBER or _inflates(entry.file_size, entry.compress_size):
            where = member_place(index, entry)
            raise fault(
                where, "the member is too large, or inflates too much.", "archive_too_large", TooLarge
            )
    size = sum(entry.file_size for entry in entries)
    packed = sum(entry.compress_size for entry in entries)
    if size > MAX_BYTES or _inflates(size, packed):
        raise TooLarge(
            "The archive holds over 2 GB, or inflates too much. Split it.",
            code="archive_too_large",
            param="file",
        )


def _inflates(size: int, packed: int) -> bool:
    return size > _SMALL and size > _RATIO * packed


def _check_overlap(entries: Sequence[zipfile.ZipInfo], directory: int) -> None:
    """Each entry must end before the next begins (CVE-2024-0450)."""
    ordered = sorted(entries, key=lambda entry: entry.header_offset)
    starts = [*(entry.header_offset for entry in ordered[1:]), directory]
    for entry, following in zip(ordered, starts, strict=False):  # an empty archive has one start
        if entry.header_offset + _LOCAL_HEADER + entry.compress_size > following:
            raise _unsupported("file", "two members overlap")


def _unsupported(where: str, problem: str) -> DurianError:
    return fault(where, f"{problem}. Pack plain files with an ordinary zip tool.", "archive_unsupported")
