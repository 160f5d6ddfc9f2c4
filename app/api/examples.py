"""How examples arrive, for datasets and models alike: a JSON list, or files with labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import Request
from starlette.datastructures import FormData, UploadFile

from app.services.datasets import NewExample
from models.base import Label
from models.errors import InvalidInput, InvalidRequest, UnsupportedMedia

_SHAPE = (
    'Send a JSON list of {"input": ..., "label": ...}, or multipart with `file` parts and `label` fields.'
)
_MAX_FILES = 1_000

BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["input"],
                        "properties": {"input": {}, "label": {}},
                    },
                }
            },
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
                        "label": {"type": "array", "items": {"type": "string"}},
                    },
                }
            },
        },
    }
}
"""What the routes that take examples say of their body on the OpenAPI page."""


async def examples_of(request: Request, task: str | None = None) -> list[NewExample]:
    """The examples in a request's body. Raises InvalidRequest or InvalidInput naming the example."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        found = _from_json(await request.body())
    elif kind == "multipart/form-data":
        async with request.form(max_files=_MAX_FILES, max_fields=_MAX_FILES) as form:
            found = await _from_form(form, task)
    else:
        raise UnsupportedMedia(_SHAPE, param="content-type")
    if not found:
        raise InvalidInput(f"There is no example in the request. {_SHAPE}", code="empty", param="body")
    return found


def parse_json(body: bytes) -> Any:
    """Strict JSON (no NaN, no lone surrogates). Raises InvalidRequest."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        raise InvalidRequest("The body is not valid JSON.", code="invalid_json", param="body") from None


def _from_json(body: bytes) -> list[NewExample]:
    content = parse_json(body)
    if isinstance(content, dict):
        content = content.get("examples")
    if not isinstance(content, list):
        raise InvalidInput(_SHAPE, param="body")
    return [_from_item(i, item) for i, item in enumerate(content)]


def _from_item(i: int, item: object) -> NewExample:
    if not isinstance(item, dict) or "input" not in item or item.keys() - {"input", "label"}:
        raise InvalidInput(f"Example {i} is not an object with input and label.", param=f"examples[{i}]")
    return NewExample(item["input"], item.get("label"))


async def _from_form(form: FormData, task: str | None) -> list[NewExample]:
    files = [part for part in form.getlist("file") if isinstance(part, UploadFile)]
    labels = [_label(text, task) for text in form.getlist("label") if isinstance(text, str)]
    return [
        NewExample(await file.read(), label, file.filename)
        for file, label in zip(files, _spread(labels, len(files)), strict=True)
    ]


def _spread(labels: Sequence[Label], files: int) -> Sequence[Label]:
    """One label for all files, one for each, or none."""
    if len(labels) == files:
        return labels
    if len(labels) <= 1:
        return [labels[0] if labels else None] * files
    raise InvalidInput(
        f"{files} files came with {len(labels)} labels; send one label for all, or one for each file.",
        param="label",
    )


def _label(text: str, task: str | None) -> Label:
    if task == "multilabel":
        return text.split("|")
    if task == "regression":
        try:
            return float(text)
        except ValueError:
            raise InvalidInput("label is not a number, and the task is regression.", param="label") from None
    return text
