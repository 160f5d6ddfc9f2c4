"""`durian models`: what was fine-tuned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.options import Session, remote
from app.commands.output import Columns, moment

if TYPE_CHECKING:
    from app.client.results import Model

app = typer.Typer(help="Fine-tuned models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of a model.")]
Ref = Annotated[str, typer.Argument(help="name, name:3 or name@alias.")]
COLUMNS: Columns = {
    "id": lambda model: model.id,
    "version": lambda model: model.version,
    "aliases": lambda model: model.aliases or None,
    "modality": lambda model: model.modality,
    "task": lambda model: model.task,
    "classes": lambda model: None if model.task == "regression" else len(model.labels or ()),
    "backbone": lambda model: model.backbone,
    "method": lambda model: model.method,
    "created": lambda model: moment(model.created),
}


@app.command("list")
@remote
def list_models(session: Session) -> None:
    """List models at their live versions."""
    page = session.client.models.list()
    session.out.listing(page, page.data, COLUMNS)


@app.command()
@remote
def show(session: Session, ref: Ref) -> None:
    """Show one version of a model."""
    model: Model = session.client.models.retrieve(ref)
    fields = {name: column(model) for name, column in COLUMNS.items()}
    more = {"labels": model.labels, "metrics": _numbers(model.metrics), "digest": model.digest}
    session.out.record(model, {**fields, **more})


@app.command()
@remote
def versions(session: Session, name: Name) -> None:
    """List all versions of a model."""
    page = session.client.models.versions(name)
    session.out.listing(page, page.data, COLUMNS)


@app.command()
@remote
def alias(
    session: Session,
    name: Name,
    alias: Annotated[str, typer.Argument(help="Name of the alias; `live` is what a bare name means.")],
    version: Annotated[int | None, typer.Argument(help="The version it shall mean.")] = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove the alias.")] = False,
) -> None:
    """Move an alias (`durian models alias NAME live 2` rolls back to version 2), or remove it."""
    if delete == (version is not None):
        raise typer.BadParameter("give either a version or --delete.")
    if version is None:
        session.out.say(session.client.models.delete_alias(name, alias), f"{name}@{alias} is gone")
    else:
        moved = session.client.models.set_alias(name, alias, version)
        session.out.say(moved, f"{name}@{alias} is version {version}")


@app.command()
@remote
def delete(session: Session, ref: Ref) -> None:
    """Delete a model, or (name:3) one version of it."""
    session.out.say(session.client.models.delete(ref), f"deleted {ref}")


def _numbers(metrics: Mapping[str, Any] | None) -> dict[str, str] | None:
    """The metrics that are single numbers."""
    numbers = {name: value for name, value in (metrics or {}).items() if isinstance(value, int | float)}
    return {name: f"{value:.4g}" for name, value in numbers.items()} or None
