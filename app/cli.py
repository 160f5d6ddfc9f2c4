"""`durian ...`: the command line. Each group is a file of `app.commands`."""

from __future__ import annotations

import typer

from app.commands import audit, backbones, datasets, files, jobs, keys, models, service, upkeep
from app.commands.predict import predict
from app.commands.recommend import recommend

app = typer.Typer(
    name="durian",
    help="Transfer learning over HTTP: a handful of examples in, a served ONNX model out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (
    service.serve,
    service.worker,
    service.demo,
    upkeep.doctor,
    upkeep.backup,
    upkeep.restore,
    audit.audit,
    predict,
    recommend,
):
    app.command()(command)
for name, group in {
    "backbones": backbones.app,
    "files": files.app,
    "datasets": datasets.app,
    "jobs": jobs.app,
    "models": models.app,
    "keys": keys.app,
}.items():
    app.add_typer(group, name=name)


def main() -> None:
    """The entry point of the `durian` program."""
    app()
