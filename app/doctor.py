"""`durian doctor`: looks at everything that a service needs, and says what is wrong and how to mend it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import func, select, text

from app.configuration import check_environment
from app.db.database import Database
from app.db.tables import Job
from app.services.bucket import open_bucket
from app.settings import Settings
from models.errors import DurianError, Unavailable
from models.shelf import Shelf

_GIB = 1024**3
_LEAST_DISK = 2 * _GIB
_CLOCK_SECONDS = 5.0
_PYTHONS = ((3, 11), (3, 12))


@dataclass(frozen=True)
class Finding:
    """One thing looked at; `remedy` where it is not as it should be."""

    name: str
    found: str
    remedy: str = ""

    @property
    def well(self) -> bool:
        return not self.remedy


class Sick(Exception):
    """What a check found, and how to mend it."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found = found
        self.remedy = remedy


def examine() -> Iterator[Finding]:
    """Every check in turn; without readable settings only the first."""
    yield _look("python", _python)
    try:
        check_environment(Settings)
        settings = Settings()
    except DurianError as error:
        yield Finding("settings", error.message, "Correct it; see docs/configuration.md.")
        return
    yield Finding("settings", "all are known and valid")
    checks: dict[str, Callable[[Settings], str]] = {
        "device": _device,
        "torch": _torch,
        "data folder": _data,
        "disk": _disk,
        "database": _database,
        "store": _store,
        "backbones": _backbones,
        "clock": _clock,
    }
    for name, check in checks.items():
        yield _look(name, lambda check=check: check(settings))  # type: ignore[misc]


def _look(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, check())
    except Sick as sick:
        return Finding(name, sick.found, sick.remedy)
    except DurianError as error:
        return Finding(name, error.message, f"Mend what is said there, then ask again ({error.code}).")
    except OSError as error:
        where = error.filename or "a file"
        return Finding(name, f"{where}: {error.strerror or error}", "Make it readable and writable.")


def _python() -> str:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] not in _PYTHONS:
        raise Sick(version, "Durian is made for Python 3.11 and 3.12: make its environment anew with one.")
    return version


def _device(_: Settings) -> str:
    from app.engine.providers import CUDA, has_nvidia_device, providers

    found = providers()
    if has_nvidia_device() and CUDA not in found:
        raise Sick(
            "there is an NVIDIA device, but ONNX Runtime has no CUDA here: it serves from the CPU",
            "Install onnxruntime-gpu (the gpu images have it), or take the device away from this process.",
        )
    return ", ".join(found)


def _torch(_: Settings) -> str:
    here = find_spec("torch") is not None
    return "is here" if here else "is not here: methods that need it run where a worker has it"


def _data(settings: Settings) -> str:
    settings.data.mkdir(parents=True, exist_ok=True)
    for folder in {settings.data, settings.stored}:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"durian")
            file.flush()
            os.fsync(file.fileno())
    return str(settings.data.resolve())


def _disk(settings: Settings) -> str:
    free = shutil.disk_usage(settings.stored).free
    found = f"{free / _GIB:.1f} GiB free"
    if free < _LEAST_DISK:
        raise Sick(found, "Make room: uploads and jobs fail when it is full. Two GiB is the least.")
    return found


def _database(settings: Settings) -> str:
    db = Database(settings.database_url)
    try:
        db.migrate()
        with db.read() as session:
            jobs = session.scalar(select(func.count()).select_from(Job))
            revision = session.scalar(text("SELECT version_num FROM alembic_version"))
    finally:
        db.close()
    return f"{db.engine.dialect.name}, schema {revision}, {jobs} jobs"


def _store(settings: Settings) -> str:
    if settings.bucket is None:
        return str(settings.stored.resolve())
    try:
        open_bucket(settings)
    except Unavailable as error:
        raise Sick(
            error.message,
            "Look whether DURIAN_STORE_ENDPOINT can be reached from here and is well, and whether "
            "DURIAN_STORE_REGION, DURIAN_STORE_KEY and DURIAN_STORE_SECRET are what it expects.",
        ) from None
    return f"{settings.bucket}: reads, writes and conditional puts"


def _backbones(settings: Settings) -> str:
    cards = [card for card in Shelf(settings.backbone_roots).list() if not card.baseline]
    modalities = {card.modality for card in cards}
    lacking = sorted({"text", "image", "audio", "signal"} - modalities)
    if lacking:
        raise Sick(f"there is none for {', '.join(lacking)}", "Run `durian backbones setup`.")
    return f"{len(cards)} for {', '.join(sorted(modalities))}"


def _clock(settings: Settings) -> str:
    """Leases are compared among machines: their clocks must agree."""
    off = max((abs(_ahead_of_disk(settings.data)), abs(_ahead_of_database(settings))))
    if off > _CLOCK_SECONDS:
        raise Sick(
            f"is {off:.0f} s off that of the database or the disk",
            "Keep all machines' clocks by NTP (systemd-timesyncd, chrony): leases depend on them.",
        )
    return f"agrees within {off:.1f} s"


def _ahead_of_disk(folder: Path) -> float:
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        return time.time() - os.stat(file.name).st_mtime


def _ahead_of_database(settings: Settings) -> float:
    db = Database(settings.database_url)
    try:
        if db.engine.dialect.name != "postgresql":
            return 0.0
        with db.read() as session:
            there = session.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
            return time.time() - float(there or 0.0)
    finally:
        db.close()
