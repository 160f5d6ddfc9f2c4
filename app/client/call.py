"""One request of the API as a value: what to send, and what its answer means. No input or output here."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from urllib.parse import quote

import httpx
from pydantic import BaseModel

from app.client.errors import UnexpectedAnswer, api_error

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
Part = tuple[str, tuple[str, bytes, str]]
"""A file part of a multipart body: field, (file name, content, content type)."""


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request and the parser of its answer.

    `repeatable` calls may be sent again after a broken connection: they change nothing, change the
    same thing to the same value, or carry an idempotency key.
    """

    method: str
    path: str
    parse: Callable[[httpx.Response], T]
    params: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    json: Any = None
    data: Mapping[str, Any] | None = None
    files: Sequence[Part] | None = None
    repeatable: bool = True
    tolerated: frozenset[int] = frozenset()
    wait: float = 0.0

    def result(self, response: httpx.Response) -> T:
        """The parsed answer. Raises ApiError or UnexpectedAnswer."""
        if response.is_error and response.status_code not in self.tolerated:
            raise api_error(response)
        try:
            return self.parse(response)
        except ValueError as error:
            raise UnexpectedAnswer(
                f"{self.method} {self.path} was answered in a form this client does not understand; "
                "is that a Durian service, of the same version?"
            ) from error

    def arguments(self, timeout: float) -> dict[str, Any]:
        """Keyword arguments of httpx's `build_request`; `timeout` is for an answer without waiting."""
        sent: dict[str, Any] = {"method": self.method, "url": self.path, "headers": dict(self.headers)}
        sent["timeout"] = timeout + self.wait
        sent |= {"params": {k: v for k, v in self.params.items() if v is not None}}
        bodies = {"json": self.json, "data": self.data, "files": self.files}
        return sent | {name: value for name, value in bodies.items() if value is not None}


def path(template: str, *names: object) -> str:
    """Fill the `{}` of a path; names keep `:` and `@`, which references use, and `/`, which ids use."""
    return template.format(*(quote(str(name), safe=":@/") for name in names))


def as_model(model: type[M]) -> Callable[[httpx.Response], M]:
    """Parser of a JSON object."""
    return lambda response: model.model_validate_json(response.content)


def prefer(wait: float | None) -> dict[str, str]:
    """The header that asks the service to answer when the job ends, or after `wait` seconds."""
    return {} if wait is None else {"prefer": f"wait={math.ceil(wait)}"}
