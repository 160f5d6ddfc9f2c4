"""A job on the screen: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from rich.console import Console

    from app.client.results import Job, JobEvent

STYLES = {"warn": "yellow", "error": "red"}


class JobProgress:
    """Shows events as they come: `with JobProgress(console) as show: client.jobs.wait(id, show)`.

    A terminal keeps one bar whose text is the newest message; warnings and errors stay above it.
    """

    def __init__(self, console: Console, title: str) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
        from rich.table import Column

        self._console = console
        self._live = console.is_terminal
        self._done = 0.0
        self._bar = Progress(
            TextColumn("{task.fields[title]}"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:>3.0f}%"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.description}[/dim]", table_column=Column(ratio=1, no_wrap=True)),
            console=console,
            expand=True,
            disable=not self._live,
        )
        self._task = self._bar.add_task("", total=1.0, title=title)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: JobEvent) -> None:
        from rich.markup import escape

        self._done = max(self._done, event.progress or 0.0)  # a repeated attempt begins anew; a bar does not
        self._bar.update(self._task, completed=self._done, description=escape(event.message))
        if not self._live or event.level in STYLES:
            line, style = f"  {self._done:4.0%}  {event.message}", STYLES.get(event.level)
            self._console.print(line, style=style, markup=False, soft_wrap=True)


def outcome(job: Job) -> str:
    """How a job ended, in one line."""
    if job.status == "succeeded":
        return f"succeeded: the model {job.fine_tuned_model} is live"
    why = f": {job.error.message}" if job.error else ""
    return f"{job.status}{why}"
