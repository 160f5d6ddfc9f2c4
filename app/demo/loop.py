"""The demo: for each example set upload, fine-tune, predict; then a table of what came out."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from app.client import Client, ClientError
from app.client.results import Job, Prediction
from app.commands.output import Columns, Output, new_console
from app.commands.progress import JobProgress, outcome
from app.demo.pictures import picture
from app.demo.service import temporary_service
from app.demo.sets import SHOTS, ExampleSet, load
from app.settings import PROJECT
from models.base import ModalityName

if TYPE_CHECKING:
    from rich.console import Console

_BATCH = 64


class DemoFailed(ClientError):
    """A step of the demo did not do what it shows."""


@dataclass(frozen=True)
class Outcome:
    """One example set from upload to predictions. `estimate` is the job's own, made without `unseen`."""

    modality: ModalityName
    backbone: str
    method: str
    classes: int
    shots: int
    estimate: dict[str, Any]
    accuracy: float
    unseen: int
    seconds_to_live: float
    predictions_per_second: float


def run(out: Output, url: str | None = None) -> None:
    """Show it, on the service at `url` or on one for the purpose. Raises ClientError where a step fails."""
    sets = load(PROJECT / "examples")
    console = new_console(to_stderr=out.as_json)
    console.print("[bold]Durian[/bold]: show it a few examples, and it knows the rest.")
    started = time.monotonic()
    service: AbstractContextManager[Client] = temporary_service() if url is None else Client(url)
    with service as client:
        seconds = time.monotonic() - started
        where = (
            f"Its service is up after {seconds:.1f} s, knowing nothing yet." if url is None else f"At {url}."
        )
        console.print(f"{where} All below is HTTP.")
        outcomes = [_loop(client, example_set, console) for example_set in sets]
    console.print()
    out.listing([asdict(outcome) for outcome in outcomes], outcomes, _COLUMNS)
    console.print(f"[dim]{_LEGEND}[/dim]")
    seconds = time.monotonic() - started
    left = "The service is stopped and its data deleted." if url is None else "Its models stay there."
    console.print(f"\nDone in {seconds:.0f} s. {left}")
    console.print("To have one of your own: `make run`, then `durian --help` or http://127.0.0.1:8000/docs")


def _loop(client: Client, example_set: ExampleSet, console: Console) -> Outcome:
    """One example set, from upload to predictions."""
    console.print(
        f"\n[bold]{example_set.modality}[/bold]: {example_set.title}\n"
        f"  Uploading {SHOTS} examples of each of {example_set.classes} classes; "
        f"{len(example_set.unseen)} others are kept back."
    )
    started = time.monotonic()
    job = _fine_tune(client, example_set, console)
    live = time.monotonic()
    predictions = list(_predict(client, job, [value for value, _ in example_set.unseen]))
    ended = time.monotonic()
    result = job.result or {}
    found = Outcome(
        modality=example_set.modality,
        backbone=result["backbone"],
        method=result["method"],
        classes=example_set.classes,
        shots=SHOTS,
        estimate=client.jobs.report(job.id)["estimate"],
        accuracy=_accuracy(predictions, example_set),
        unseen=len(predictions),
        seconds_to_live=live - started,
        predictions_per_second=len(predictions) / (ended - live),
    )
    _tell(console, f"{job.fine_tuned_model}", found)
    _show_one(console, example_set, predictions)
    return found


def _accuracy(predictions: Sequence[Prediction], example_set: ExampleSet) -> float:
    pairs = zip(predictions, example_set.unseen, strict=True)
    return sum(prediction.label == label for prediction, (_, label) in pairs) / len(predictions)


def _tell(console: Console, name: str, found: Outcome) -> None:
    examples = found.shots * found.classes
    console.print(
        f"  {name} is live {found.seconds_to_live:.1f} s after the upload: "
        f"{found.method} on {found.backbone}.\n"
        f"  From its own {examples} examples it estimates to be right in {_estimate(found.estimate)};\n"
        f"  on those kept back it is right in {found.accuracy:.1%}. One of them:"
    )


def _fine_tune(client: Client, example_set: ExampleSet, console: Console) -> Job:
    file = client.files.create(example_set.upload, filename=example_set.filename)
    job = client.jobs.create("auto", file.id, suffix=f"demo-{example_set.modality}", seed=0)
    with JobProgress(console, "  fine-tuning") as progress:
        job = client.jobs.wait(job.id, progress)
    if job.status != "succeeded":
        raise DemoFailed(f"The job on {example_set.filename} {outcome(job)}")
    return job


def _predict(client: Client, job: Job, inputs: Sequence[Any]) -> Iterator[Prediction]:
    for start in range(0, len(inputs), _BATCH):
        answer = client.predict(job.fine_tuned_model or "", inputs[start : start + _BATCH])
        yield from answer.data


def _show_one(console: Console, example_set: ExampleSet, predictions: Sequence[Prediction]) -> None:
    """The middle one: neither picked for being right nor for being sure."""
    index = len(predictions) // 2
    (value, label), prediction = example_set.unseen[index], predictions[index]
    for line in picture(example_set.modality, value).splitlines():
        console.print(f"    {line}", markup=False, soft_wrap=True)
    truth = "" if prediction.label == label else f" (it is {label})"
    console.print(f"    → {prediction.label}, {prediction.score:.2f}{truth}", markup=False)


def _estimate(estimate: dict[str, Any]) -> str:
    """`82% (65–92)`, with its 95 % interval where there is one."""
    value, low, high = (estimate[name] for name in ("value", "low", "high"))
    if value is None:
        return "unknown"
    return f"{value:.0%}" + ("" if low is None or high is None else f" ({100 * low:.0f}–{100 * high:.0f})")


_COLUMNS: Columns = {
    "modality": lambda row: row.modality,
    "backbone": lambda row: row.backbone,
    "examples": lambda row: f"{row.classes} × {row.shots}",
    "estimate": lambda row: _estimate(row.estimate),
    "unseen": lambda row: f"{row.accuracy:.1%} ({row.unseen})",
    "live in": lambda row: f"{row.seconds_to_live:.1f} s",
    "per s": lambda row: f"{row.predictions_per_second:,.0f}",
}
_LEGEND = """\
examples: classes × shots   estimate: cross-validated accuracy, 95 % interval
unseen: accuracy on those kept back (how many)   live in: upload to served model
per s: predictions a second by one client, in batches of 64"""
