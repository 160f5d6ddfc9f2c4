"""Zip: one file an example, labelled by its folder, or by a `labels.csv` beside the files."""

from __future__ import annotations

import zipfile
from codecs import BOM_UTF8
from collections.abc import Sequence
from pathlib import PurePosixPath

from models.base import ModalityName
from models.errors import DurianError, UnsupportedMedia
from models.formats import csv
from models.formats.archive import files, member_place, opened
from models.formats.columns import LABEL, wrong_columns
from models.formats.labels import from_cells
from models.formats.rows import Format, Parsed, Row, Wanted
from models.modalities.faults import fault
from models.modalities.media import HEAD, sniff

LABELS = "labels.csv"
UNLABELLED = "unlabelled"
_IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
_SOUNDS = (".wav", ".flac", ".ogg", ".oga", ".opus")
_NESTED = (".zip", ".npz", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_KINDS: dict[str, ModalityName] = {
    **dict.fromkeys(_IMAGES, "image"),
    **dict.fromkeys(_SOUNDS, "audio"),
    ".txt": "text",
}

Member = tuple[str, str, zipfile.ZipInfo]
"""Where (for messages), path below the common folder, entry."""


def read(data: bytes, wanted: Wanted) -> Parsed:
    """Rows in archive order. Raises as `archive.opened`, and `archive_layout` or `missing_file`."""
    with opened(data) as archive:
        members = _members(archive)
        table = [member for member in members if member[1] == LABELS]
        examples = [member for member in members if member[1] != LABELS]
        if table:
            labels = _from_table(csv.table(archive.read(table[0][2]), f"{LABELS} "), examples, wanted)
        else:
            labels = _from_folders(examples, wanted)
        rows = [Row(m[0], _content(archive, m), y) for m, y in zip(examples, labels, strict=True)]
    return Parsed(rows, _kind(examples[0]) if examples else None)


def _members(archive: zipfile.ZipFile) -> list[Member]:
    """Files with their paths below the folder that all share, if labels still remain below it."""
    entries = files(archive)
    paths = [PurePosixPath(entry.filename).parts for entry in entries]
    while paths and len({parts[0] for parts in paths}) == 1 and _wrapped(paths):
        paths = [parts[1:] for parts in paths]
    return [
        (member_place(i, entry), "/".join(parts), entry)
        for i, (entry, parts) in enumerate(zip(entries, paths, strict=True), 1)
    ]


def _wrapped(paths: Sequence[tuple[str, ...]]) -> bool:
    """Whether the common first folder is only a wrapper, not itself a label."""
    return all(len(parts) > 2 for parts in paths) or any(parts[1:] == (LABELS,) for parts in paths)


def _from_folders(members: Sequence[Member], wanted: Wanted) -> list[object]:
    cells = []
    for where, path, _ in members:
        folders = path.split("/")[:-1]
        if len(folders) != 1:
            raise fault(
                where,
                "expected label/file.ext: one folder a label, or a labels.csv with columns file and label.",
                "archive_layout",
            )
        cells.append((where, "" if folders[0] == UNLABELLED else folders[0]))
    return from_cells(cells, wanted.task or "classification")


def _from_table(
    table: tuple[list[str], list[csv.Record]], members: Sequence[Member], wanted: Wanted
) -> list[object]:
    """Each member's label by its path; a member that the table does not list is unlabelled."""
    names, records = table
    if not {"file", LABEL} <= set(names):
        raise wrong_columns("labels.csv lacks the column file or label.")
    file, label = names.index("file"), names.index(LABEL)
    known = {path for _, path, _ in members}
    cells: dict[str, tuple[str, str]] = {}
    for where, record in records:
        path = record[file].removeprefix("./")
        if path not in known:
            raise fault(where, "the archive has no such file. Give its path in the archive.", "missing_file")
        if path in cells:
            raise fault(where, "the file is listed twice. Keep one row.", "repeated_file")
        cells[path] = (where, record[label])
    labels = dict(zip(cells, from_cells(list(cells.values()), wanted.task), strict=True))
    return [labels.get(path) for _, path, _ in members]


def _kind(member: Member) -> ModalityName:
    suffix = PurePosixPath(member[1]).suffix.lower()
    if suffix in _NESTED:
        raise fault(member[0], "an archive in an archive is not read. Unpack it.", "archive_unsupported")
    if suffix not in _KINDS:
        raise _unsupported(member[0])
    return _KINDS[suffix]


def _content(archive: zipfile.ZipFile, member: Member) -> bytes:
    """The member's bytes; a media file is inflated only when its first bytes are of a known kind."""
    with archive.open(member[2]) as stream:
        head = stream.read(HEAD)
        kind = _kind(member)
        if kind != "text" and head and sniff(head) is None:
            raise _unsupported(member[0])
        data = head + stream.read()
    return data.removeprefix(BOM_UTF8) if kind == "text" else data


def _unsupported(where: str) -> DurianError:
    return fault(
        where,
        "Durian does not read this kind of file in an archive. Send images, sounds, or UTF-8 .txt files.",
        "unsupported_media",
        UnsupportedMedia,
    )


FORMAT = Format("zip", (".zip",), lambda data: data[:4] in (b"PK\x03\x04", b"PK\x05\x06"), read)
