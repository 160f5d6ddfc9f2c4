"""`durian jobs`: fine-tuning."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.choices import After, Limit
from app.commands.options import Session, remote
from app.commands.output import Columns, moment
from app.commands.progress import JobProgress, outcome

if TYPE_CHECKING:
    from app.client.results import Job

app = typer.Typer(help="Fine-tuning jobs.", no_args_is_help=True)

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of a job.")]
Pairs = Annotated[list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="May be repeated.")]
COLUMNS: Columns = {
    "id": lambda job: job.id,
    "status": lambda job: job.status,
    "model": lambda job: job.model,
    "fine-tuned model": lambda job: job.fine_tuned_model,
    "created": lambda job: moment(job.created_at),
    "seconds": lambda job: job.seconds,
}


@app.command()
@remote
def create(
    session: Session,
    model: Annotated[str, typer.Argument(help="A backbone's id, a model of yours, or auto.")],
    data: Annotated[str, typer.Argument(help="Id of a file or dataset, or a local file to upload first.")],
    validation: Annotated[str | None, typer.Option("--validation", help="Validation data, likewise.")] = None,
    unlabelled: Annotated[str | None, typer.Option("--unlabelled", help="Unlabelled data, likewise.")] = None,
    suffix: Annotated[str | None, typer.Option("--suffix", help="The name of the new model.")] = None,
    method: Annotated[str | None, typer.Option("--method", help="A transfer method; default: auto.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A hyperparameter of --method; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Same data and seed, same model.")] = None,
    metadata: Pairs = None,
    follow: Annotated[bool, typer.Option("--watch", help="Follow the job to its end.")] = False,
) -> None:
    """Start a job."""
    hyperparameters = {name: _value(value) for name, value in _pairs(set_).items()}
    if hyperparameters and method is None:
        raise typer.BadParameter("--set needs the --method it belongs to.")
    job = session.client.jobs.create(
        model,
        session.reference(data),
        validation_file=validation and session.reference(validation),
        unlabelled_file=unlabelled and session.reference(unlabelled),
        suffix=suffix,
        method=method,
        hyperparameters=hyperparameters or None,
        seed=seed,
        metadata=_pairs(metadata) or None,
    )
    if follow:
        _follow(session, job.id)
    else:
        session.out.say(job, f"{job.id} {job.status}; follow it with: durian jobs watch {job.id}")


@app.command("list")
@remote
def list_jobs(session: Session, after: After = None, limit: Limit = 20, metadata: Pairs = None) -> None:
    """List jobs, newest first."""
    page = session.client.jobs.list(after=after, limit=limit, metadata=_pairs(metadata))
    session.out.listing(page, page.data, COLUMNS)


@app.command()
@remote
def show(session: Session, job_id: JobId) -> None:
    """Show one job."""
    _show(session, session.client.jobs.retrieve(job_id))


@app.command()
@remote
def watch(session: Session, job_id: JobId) -> None:
    """Follow a job to its end; exit code 1 unless it succeeds. --json: an event a line, then the job."""
    _follow(session, job_id)


@app.command()
@remote
def cancel(session: Session, job_id: JobId) -> None:
    """Stop a job."""
    job = session.client.jobs.cancel(job_id)
    session.out.say(job, f"{job.id} {outcome(job)}")


@app.command()
@remote
def report(
    session: Session,
    job_id: JobId,
    html: Annotated[Path | None, typer.Option("--html", help="Write the page with plots here.")] = None,
) -> None:
    """Show a job's report: the estimate and everything it rests on."""
    if html is None:
        return session.out.json(session.client.jobs.report(job_id))
    html.write_text(session.client.jobs.report_html(job_id), "utf-8")
    return session.out.say({"path": str(html)}, f"wrote {html}")


def _follow(session: Session, job_id: str) -> None:
    if session.out.as_json:
        job = session.client.jobs.wait(job_id, lambda event: session.out.json(event, lines=True))
        session.out.json(job, lines=True)
    else:
        with JobProgress(session.out.console, job_id) as progress:
            job = session.client.jobs.wait(job_id, progress)
        session.out.say(job, f"{job.id} {outcome(job)}")
    if job.status != "succeeded":
        raise typer.Exit(1)


def _show(session: Session, job: Job) -> None:
    fields = {name: column(job) for name, column in COLUMNS.items()}
    more = {
        "training data": job.training_file,
        "method": (job.method or {}).get("type"),
        "seed": job.seed,
        "error": job.error.message if job.error else None,
    }
    session.out.record(job, {**fields, **more})


def _pairs(items: list[str] | None) -> dict[str, str]:
    split = [item.partition("=") for item in items or ()]
    if not all(separator for _, separator, _ in split):
        raise typer.BadParameter("write pairs as name=value.")
    return {name: value for name, _, value in split}


def _value(text: str) -> Any:
    """A number, true, false or null where it reads as one; else the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text
