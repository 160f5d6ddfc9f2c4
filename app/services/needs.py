"""What a method must have besides labelled examples, checked before its job is queued."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.services.data import Source
from models.errors import InvalidInput, Unavailable

FILE_ID = "file-id"
"""The JSON schema's `format` of a hyperparameter that names an uploaded file or a dataset."""

TRAINING_FILE_ID = "training-file-id"
"""The `format` of one that names labelled examples of another task, inputs of the training file's kind."""

CLASS_TABLE = "class-table"
"""The `format` of one that has a row for every class, each row with the same columns."""

AT_MOST_EXAMPLES = "at-most-examples"
"""The `format` of a number that may not exceed the number of labelled examples."""


def check_needs(
    method: Mapping[str, Any], training: Source, unlabelled: Source | None, parent: str | None
) -> None:
    """Raises InvalidInput naming the field, Unavailable where no worker has torch."""
    needs, name = method["needs"], method["name"]
    if not method["available"]:
        raise Unavailable(
            f"The method {name} trains with torch, which no worker has: an administrator adds it "
            "with `make setup-torch`, or starts a worker that has it.",
            code="needs_torch",
        )
    if "unlabelled" in needs and not (unlabelled or training).unlabelled:
        raise InvalidInput(
            f"The method {name} adapts to unlabelled examples of the target domain, and there are none: "
            "give them as unlabelled_file.",
            code="no_unlabelled_data",
            param="unlabelled_file",
        )
    if "target_labels" in needs and not (unlabelled and unlabelled.labelled):
        raise InvalidInput(
            f"The method {name} compares a source with labels of the target, and there are none: "
            "give some labelled examples of the target in the unlabelled_file.",
            code="no_target_labels",
            param="unlabelled_file",
        )
    strange = set(unlabelled.labels) - set(training.labels) if unlabelled else set()
    if strange:
        raise InvalidInput(
            f"unlabelled_file has labels of {len(strange)} classes that the training file lacks: the target "
            "may not have classes that the source has not. Leave such rows out, or add examples of them.",
            code="unknown_target_classes",
            param="unlabelled_file",
        )
    if "parent" in needs and parent is None:
        raise InvalidInput(
            f"The method {name} continues a fine-tuned model: name one of yours as model.",
            code="no_parent",
            param="model",
        )


def check_values(method: Mapping[str, Any], hyperparameters: Mapping[str, Any], training: Source) -> None:
    """What the schema cannot say alone, because it depends on the examples. Raises InvalidInput."""
    for param, kind, value in _formatted(method, hyperparameters):
        if kind == CLASS_TABLE:
            _check_table(param, value, training.labels)
        elif kind == AT_MOST_EXAMPLES and value > training.labelled:
            raise InvalidInput(
                f"{value} coefficients cannot be fitted to {training.labelled} labelled examples: "
                "ask for fewer, or add examples.",
                code="too_many_coefficients",
                param=param,
            )


def _check_table(param: str, table: Mapping[str, Any], labels: Sequence[str]) -> None:
    missing = [label for label in labels if label not in table]
    if missing:
        raise InvalidInput(
            f"The table has no row for {len(missing)} of the {len(labels)} classes of the training file; "
            "every class needs one, spelt as in the labels.",
            code="class_table",
            param=param,
        )
    columns = {tuple(sorted(row)) if isinstance(row, Mapping) else () for row in table.values()}
    if len(columns) > 1:
        raise InvalidInput(
            "The rows of the table do not have the same columns.", code="class_table", param=param
        )


def file_ids(method: Mapping[str, Any], hyperparameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`(param, id)` of each file that the hyperparameters name, where the schema's `format` says so."""
    found = _formatted(method, hyperparameters)
    return ((param, value) for param, kind, value in found if kind in (FILE_ID, TRAINING_FILE_ID))


def check_files(
    method: Mapping[str, Any],
    hyperparameters: Mapping[str, Any],
    training: Source,
    files: Mapping[str, Source],
    max_classes: int,
) -> None:
    """Raises InvalidInput where a named file, by id in `files`, cannot be another task of this training."""
    for param, kind, value in _formatted(method, hyperparameters):
        if kind == TRAINING_FILE_ID:
            files[value].must_take(training.input, param)
            files[value].check_trainable(max_classes)


def _formatted(
    method: Mapping[str, Any], hyperparameters: Mapping[str, Any]
) -> Iterator[tuple[str, str, Any]]:
    """`(param, format, value)` of every given value whose schema names a format."""
    schema = {"type": "object", **method["hyperparameters"]}
    return _walk(f"method.{method['name']}.hyperparameters", schema, hyperparameters)


def _walk(param: str, schema: Mapping[str, Any], value: Any) -> Iterator[tuple[str, str, Any]]:
    for option in (schema, *schema.get("anyOf", ())):
        if "format" in option and value is not None and value != "auto":
            yield param, option["format"], value
    if isinstance(value, Mapping):
        for key, inner in value.items():
            known = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if isinstance(known, Mapping):
                yield from _walk(f"{param}.{key}", known, inner)
