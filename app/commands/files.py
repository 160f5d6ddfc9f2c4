"""`durian files`: labelled uploads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.choices import After, Limit, ModalityOption, TaskOption
from app.commands.options import Session, remote
from app.commands.output import Columns, CommandError, moment

if TYPE_CHECKING:
    from app.client.results import File

app = typer.Typer(help="Labelled uploads.", no_args_is_help=True)

FileId = Annotated[str, typer.Argument(metavar="FILE", help="Id of an uploaded file.")]

COLUMNS: Columns = {
    "id": lambda file: file.id,
    "file": lambda file: file.filename,
    "modality": lambda file: file.modality,
    "task": lambda file: file.task,
    "examples": lambda file: file.examples,
    "classes": lambda file: len(file.labels) or None,
    "created": lambda file: moment(file.created_at),
}


@app.command()
@remote
def upload(
    session: Session,
    path: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="The file to upload.")],
    modality: ModalityOption = None,
    task: TaskOption = None,
) -> None:
    """Upload a .jsonl, .csv, .parquet, .npz or .zip of examples."""
    file = session.client.files.create(path, modality=modality, task=task)
    _show(session, file)


@app.command("list")
@remote
def list_files(session: Session, after: After = None, limit: Limit = 20) -> None:
    """List uploads, newest first."""
    page = session.client.files.list(after=after, limit=limit)
    session.out.listing(page, page.data, COLUMNS)


@app.command()
@remote
def show(session: Session, file_id: FileId) -> None:
    """Show one upload and what is in it."""
    _show(session, session.client.files.retrieve(file_id))


@app.command()
@remote
def download(
    session: Session,
    file_id: FileId,
    to: Annotated[Path | None, typer.Option("--to", help="Where to write it; default: its own name.")] = None,
) -> None:
    """Fetch the bytes of an upload."""
    # The name is the uploader's choice: only its last part counts, so that it stays in this folder.
    target = to or Path(Path(session.client.files.retrieve(file_id).filename).name or file_id)
    if to is None and target.exists():
        raise CommandError(f"{target} exists already; name another place with --to.")
    target.write_bytes(session.client.files.content(file_id))
    session.out.say({"id": file_id, "path": str(target)}, f"wrote {target}")


@app.command()
@remote
def delete(session: Session, file_id: FileId) -> None:
    """Delete an upload."""
    session.out.say(session.client.files.delete(file_id), f"deleted {file_id}")


def _show(session: Session, file: File) -> None:
    fields = {name: column(file) for name, column in COLUMNS.items()}
    session.out.record(file, {**fields, "labels": file.labels or None, "warnings": file.warnings or None})
