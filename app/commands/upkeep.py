"""`durian doctor`, `durian backup`, `durian restore`: looking after a service, on its machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import local
from app.commands.output import Output

if TYPE_CHECKING:
    from app.services.backup import Backup


@local
def doctor(out: Output) -> None:
    """Check all that a service needs; say what is wrong and how to mend it. Exit status 1 if something is."""
    from app.doctor import examine

    found = list(examine())
    lines = [f"{'ok    ' if one.well else 'WRONG '} {one.name}: {one.found}" for one in found]
    lines += [f"\n{one.name}: {one.remedy}" for one in found if not one.well]
    data = [{"name": one.name, "ok": one.well, "found": one.found, "remedy": one.remedy} for one in found]
    out.say({"object": "list", "data": data}, "\n".join(lines))
    if not all(one.well for one in found):
        raise typer.Exit(1)


@local
def backup(
    out: Output, target: Annotated[Path, typer.Argument(metavar="FILE.tar", help="A new file.")]
) -> None:
    """Write everything a service knows to one file, while it runs. Keep it safe: it holds the key hashes."""
    with _opened() as found:
        told = found.write(target.absolute())
    out.say({"file": str(target), **told}, f"wrote {target}: {_told(told)}")


@local
def restore(
    out: Output,
    source: Annotated[
        Path, typer.Argument(metavar="FILE.tar", exists=True, dir_okay=False, help="A backup.")
    ],
) -> None:
    """Fill an empty database and data folder from a backup; the service must not run."""
    with _opened() as found:
        told = found.restore(source)
    out.say({"file": str(source), **told}, f"restored {_told(told)}; the service may start")


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{number} {what}" for what, number in counts.items())


@contextmanager
def _opened() -> Iterator[Backup]:
    from app.main import Ground
    from app.services.backup import Backup
    from app.settings import Settings

    settings = Settings()
    ground = Ground.of(settings)
    extras = ("backbones",) if settings.pepper else ("backbones", "pepper")
    try:
        yield Backup(ground.db, ground.blobs, ground.artefacts, settings.data, extras)
    finally:
        ground.db.close()
