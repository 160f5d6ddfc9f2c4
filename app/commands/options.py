"""The options that commands share: a command takes a `Session` or an `Output`, and gets them added."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, ParamSpec, TypeVar

import typer

from app.commands.output import Output, errors_as_lines, local_file

if TYPE_CHECKING:
    from app.client import Client

P = ParamSpec("P")
F = TypeVar("F")


class Session:
    """What a command that talks to the service works with."""

    def __init__(self, url: str | None, key: str | None, as_json: bool) -> None:
        self.out = Output(as_json)
        self._address = (url, key)

    @cached_property
    def client(self) -> Client:
        from app import client

        return client.Client(*self._address)

    def reference(self, data: str) -> str:
        """The id itself, or that of the local file of this name, uploaded."""
        path = local_file(data)
        return data if path is None else self.client.files.create(path).id


def _option(name: str, kind: Any, default: object, *flags: str, **info: Any) -> inspect.Parameter:
    annotation = Annotated[kind, typer.Option(*flags, **info)]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


_JSON = _option("as_json", bool, False, "--json", help="Print JSON for scripts.")
_URL = _option("url", str | None, None, "--url", envvar="DURIAN_URL", help="Address of the service.")
_KEY = _option("key", str | None, None, "--key", envvar="DURIAN_API_KEY", help="API key.")


def remote(command: Callable[Concatenate[Session, P], None]) -> Callable[..., None]:
    """A command that talks to the service: `--json`, `--url`, `--key`; errors as one line."""
    return _with_options(command, (_JSON, _URL, _KEY), Session)


def local(command: Callable[Concatenate[Output, P], None]) -> Callable[..., None]:
    """A command that works on this machine: `--json`; errors as one line."""
    return _with_options(command, (_JSON,), Output)


def _with_options(
    command: Callable[..., None], options: Sequence[inspect.Parameter], make: Callable[..., F]
) -> Callable[..., None]:
    signature = inspect.signature(command, eval_str=True)
    names = [option.name for option in options]

    def run(**arguments: Any) -> None:
        first = make(**{name: arguments.pop(name) for name in names})
        with errors_as_lines():
            command(first, **arguments)

    own = list(signature.parameters.values())[1:]
    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    run.__signature__ = signature.replace(parameters=[*parameters, *options])  # type: ignore[attr-defined]
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run
