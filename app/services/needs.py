"""What a method must have besides labelled examples, checked before its job is queued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from app.services.data import Source
from models.errors import InvalidInput, Unavailable

FILE_ID = "file-id"
"""The JSON schema's `format` of a hyperparameter that names an uploaded file or a dataset."""


def check_needs(
    method: Mapping[str, Any], training: Source, unlabelled: Source | None, parent: str | None
) -> None:
    """Raises InvalidInput naming the field, Unavailable where the worker lacks torch."""
    needs, name = method["needs"], method["name"]
    if not method["available"]:
        raise Unavailable(
            f"The method {name} trains with torch, which is not installed here: "
            "an administrator adds it with `make setup-torch`.",
            code="needs_torch",
        )
    if "unlabelled" in needs and not (unlabelled or training).unlabelled:
        raise InvalidInput(
            f"The method {name} adapts to unlabelled examples of the target domain, and there are none: "
            "give them as unlabelled_file.",
            code="no_unlabelled_data",
            param="unlabelled_file",
        )
    if "parent" in needs and parent is None:
        raise InvalidInput(
            f"The method {name} continues a fine-tuned model: name one of yours as model.",
            code="no_parent",
            param="model",
        )


def file_ids(method: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`(param, id)` of each file that the hyperparameters name, where the schema says `format: file-id`."""
    prefix = f"method.{method['name']}.hyperparameters"
    yield from _walk(prefix, {"type": "object", **method["hyperparameters"]}, hyperparameters)


def _walk(param: str, schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        if any(option.get("format") == FILE_ID for option in (schema, *schema.get("anyOf", ()))):
            yield param, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            known = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(known, Mapping):
                yield from _walk(f"{param}.{key}", known, inner)
