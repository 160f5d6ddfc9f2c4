"""What commands print: JSON for scripts, tables for people; errors as one line on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

Columns = Mapping[str, Callable[[Any], object]]
"""Heading -> what a row shows under it."""


class CommandError(Exception):
    """What a person did wrong, in a line for them."""


_PIPE_WIDTH = 200  # without a terminal nothing forces narrow tables


def new_console(*, to_stderr: bool = False) -> Console:
    """A console on stdout or stderr; wide where no terminal limits it."""
    from rich.console import Console

    stream = sys.stderr if to_stderr else sys.stdout
    return Console(width=None if stream.isatty() else _PIPE_WIDTH, stderr=to_stderr, highlight=False)


class Output:
    """Where a command's results go."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    @cached_property
    def console(self) -> Console:
        return new_console()

    def json(self, value: object, *, lines: bool = False) -> None:
        """Print a result of the client (what the service sent of it) or plain data; `lines`: on one line."""
        data = value.model_dump(mode="json", exclude_unset=True) if hasattr(value, "model_dump") else value
        sys.stdout.write(json.dumps(data, indent=None if lines else 2, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def record(self, value: object, shown: Mapping[str, object]) -> None:
        """One thing: for people the fields in `shown`, those that are None left out."""
        if self.as_json:
            return self.json(value)
        from rich.table import Table

        table = Table.grid(padding=(0, 2))
        for name, field in shown.items():
            if field is not None:
                table.add_row(f"[dim]{name}[/dim]", cell(field))
        return self.console.print(table)

    def listing(self, value: object, rows: Iterable[Any], columns: Columns) -> None:
        """Several things: for people one row each."""
        if self.as_json:
            return self.json(value)
        from rich.table import Table

        table = Table(*columns, box=None, header_style="bold", pad_edge=False)
        for row in rows:
            table.add_row(*(cell(column(row)) for column in columns.values()))
        return self.console.print(table if table.row_count else "[dim]none[/dim]")

    def say(self, value: object, message: str) -> None:
        """The outcome of an act, as a sentence for people."""
        if self.as_json:
            self.json(value)
        else:
            self.console.print(message, markup=False, soft_wrap=True)


def cell(value: object) -> str:
    """A value as people read it; nothing in it is taken for markup."""
    from rich.markup import escape

    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return escape(", ".join(f"{name} {count}" for name, count in value.items()))
    if isinstance(value, list | tuple):
        return ", ".join(map(cell, value))
    return escape(str(value))


def local_file(name: str) -> Path | None:
    """The file of this name, if there is one; any text may be asked about."""
    path = Path(name)
    try:
        return path if path.is_file() else None
    except (OSError, ValueError):  # longer than a name can be, or with a NUL
        return None


def read_text(path: Path) -> str:
    """A UTF-8 file. Raises OSError or CommandError."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise CommandError(f"{path} is not UTF-8 text.") from None


def moment(seconds: float | None) -> str | None:
    """Unix seconds as local time."""
    from datetime import UTC, datetime

    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def fail(message: str) -> typer.Exit:
    """Print an error as one line; raise the result to end with exit code 1."""
    typer.echo(f"durian: {' '.join(message.split())}", err=True)
    return typer.Exit(1)


@contextmanager
def errors_as_lines() -> Iterator[None]:
    """Turn what is expected to go wrong into one line on stderr and exit code 1."""
    from app.client.errors import ApiError, ClientError
    from models.errors import DurianError

    try:
        yield
    except ApiError as error:
        trail = ", ".join(filter(None, (error.code, error.request_id)))
        hint = " Give a key by --key or DURIAN_API_KEY." if error.status == 401 else ""
        raise fail(error.message + hint + (f" ({trail})" if trail else "")) from None
    except DurianError as error:
        trail = f" ({error.code})" if error.code != error.default_code else ""
        raise fail(error.message + trail) from None
    except (ClientError, CommandError) as error:
        raise fail(str(error)) from None
    except OSError as error:
        raise fail(f"{error.filename or 'a file'}: {error.strerror or error}") from None
