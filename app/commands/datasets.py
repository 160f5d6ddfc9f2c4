"""`durian datasets`: examples that grow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.choices import After, Limit, Modality, TaskOption
from app.commands.options import Session, remote
from app.commands.output import Columns, CommandError, local_file, moment, read_text

if TYPE_CHECKING:
    from app.client.results import Dataset

app = typer.Typer(help="Examples that grow.", no_args_is_help=True)

DatasetId = Annotated[str, typer.Argument(metavar="DATASET", help="Id of a dataset.")]
COLUMNS: Columns = {
    "id": lambda dataset: dataset.id,
    "name": lambda dataset: dataset.name,
    "modality": lambda dataset: dataset.modality,
    "task": lambda dataset: dataset.task,
    "examples": lambda dataset: dataset.examples,
    "classes": lambda dataset: len(dataset.labels) or None,
}
EXAMPLES: Columns = {
    "id": lambda example: example.id,
    "label": lambda example: example.label,
    "file": lambda example: example.filename,
    "created": lambda example: moment(example.created_at),
}


@app.command()
@remote
def create(
    session: Session,
    name: Annotated[str, typer.Argument(help="A name for people.")],
    modality: Annotated[Modality, typer.Option("--modality", help="Kind of input.")],
    task: TaskOption = None,
) -> None:
    """Create an empty dataset."""
    _show(session, session.client.datasets.create(name, modality=modality, task=task or "classification"))


@app.command("list")
@remote
def list_datasets(session: Session, after: After = None, limit: Limit = 20) -> None:
    """List datasets, newest first."""
    page = session.client.datasets.list(after=after, limit=limit)
    session.out.listing(page, page.data, COLUMNS)


@app.command()
@remote
def add(
    session: Session,
    dataset_id: DatasetId,
    inputs: Annotated[list[str], typer.Argument(help="Media files with --label, or one .jsonl of examples.")],
    label: Annotated[str | None, typer.Option("--label", help="The label of all the files.")] = None,
) -> None:
    """Add examples: files of one label, texts of one label, or the rows of a .jsonl file."""
    added = session.client.datasets.add(dataset_id, _examples(inputs, label))
    session.out.say(added, f"added {len(added.data)}, {added.duplicates} were there already")


@app.command()
@remote
def show(session: Session, dataset_id: DatasetId) -> None:
    """Show a dataset's counts and digest."""
    _show(session, session.client.datasets.retrieve(dataset_id))


@app.command()
@remote
def examples(
    session: Session,
    dataset_id: DatasetId,
    label: Annotated[str | None, typer.Option("--label", help="Only those of this label.")] = None,
    after: After = None,
    limit: Limit = 20,
) -> None:
    """List a dataset's examples in the order of their upload."""
    page = session.client.datasets.examples(dataset_id, after=after, limit=limit, label=label)
    session.out.listing(page, page.data, EXAMPLES)


@app.command()
@remote
def delete(session: Session, dataset_id: DatasetId) -> None:
    """Delete a dataset with its examples."""
    session.out.say(session.client.datasets.delete(dataset_id), f"deleted {dataset_id}")


def _examples(inputs: list[str], label: str | None) -> list[Any]:
    if label is not None:
        return [(local_file(item) or item, label) for item in inputs]
    if len(inputs) != 1 or not inputs[0].endswith(".jsonl"):
        raise typer.BadParameter("name one .jsonl file, or give --label for the inputs.")
    lines = read_text(Path(inputs[0])).splitlines()
    return [_row(line, number) for number, line in enumerate(lines, 1) if line.strip()]


def _row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict) or "input" not in row:
        raise CommandError(f'line {number} is not a JSON object like {{"input": ..., "label": ...}}.')
    return row


def _show(session: Session, dataset: Dataset) -> None:
    fields = {name: column(dataset) for name, column in COLUMNS.items()}
    session.out.record(dataset, {**fields, "labels": dataset.labels or None, "digest": dataset.digest})
