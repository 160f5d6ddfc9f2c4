"""`durian serve`, `durian worker`, `durian demo`: what runs on this machine."""

from __future__ import annotations

from typing import Annotated

import typer

from app.commands.options import local
from app.commands.output import Output, errors_as_lines


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Address; off loopback it asks for keys.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port.")] = 8000,
    worker: Annotated[bool, typer.Option("--worker/--no-worker", help="Run jobs in here too.")] = True,
    workers: Annotated[
        int,
        typer.Option("--workers", min=0, max=64, help="HTTP processes beside the engine's; 0: one for all."),
    ] = 0,
) -> None:
    """Start the service."""
    from app import start

    with errors_as_lines():
        start.serve(host=host, port=port, worker=worker, workers=workers)


def worker() -> None:
    """Run jobs only, beside a service that shares the data directory and database."""
    from app import worker as program

    with errors_as_lines():
        program.main()


@local
def demo(
    out: Output,
    url: Annotated[
        str | None,
        typer.Option("--url", help="A running service (key: DURIAN_API_KEY); else one of its own."),
    ] = None,
) -> None:
    """Show the whole loop on the example sets: upload, fine-tune, predict."""
    from app.demo import run

    run(out, url)
