"""What a method needs is asked for before its job is queued."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from app.services.data import Source
from app.services.needs import check_files, check_needs, check_values, file_ids
from models.errors import InvalidInput, Unavailable
from models.manifest import InputSpec


def source(unlabelled: int, labels: tuple[str, ...] = ("a", "b")) -> Source:
    kind = InputSpec(modality="text")
    return Source("file-1", "d", "classification", kind, 4, unlabelled, labels, "training_file")


def method(*needs: str, available: bool = True) -> dict[str, Any]:
    return {"name": "some", "needs": list(needs), "available": available}


def test_unlabelled_examples_may_come_with_either_file() -> None:
    check_needs(method("unlabelled"), source(0), source(3), None)
    check_needs(method("unlabelled"), source(3), None, None)
    for training, more in ((source(0), None), (source(0), source(0)), (source(3), source(0))):
        with pytest.raises(InvalidInput) as refused:
            check_needs(method("unlabelled"), training, more, None)
        assert (refused.value.code, refused.value.param) == ("no_unlabelled_data", "unlabelled_file")


def test_labelled_examples_of_the_target_come_with_the_unlabelled_file() -> None:
    check_needs(method("target_labels"), source(0), source(3), None)  # it has four labelled ones too
    with pytest.raises(InvalidInput) as refused:
        check_needs(method("target_labels"), source(5), None, None)
    assert (refused.value.code, refused.value.param) == ("no_target_labels", "unlabelled_file")


def test_labels_of_the_target_come_with_the_unlabelled_file() -> None:
    check_needs(method("target_labels"), source(0), source(3), None)
    with pytest.raises(InvalidInput) as refused:
        check_needs(method("target_labels"), source(0), None, None)
    assert (refused.value.code, refused.value.param) == ("no_target_labels", "unlabelled_file")


def test_a_parent_is_a_model() -> None:
    check_needs(method("parent"), source(0), None, "digest")
    with pytest.raises(InvalidInput) as refused:
        check_needs(method("parent"), source(0), None, None)
    assert (refused.value.code, refused.value.param) == ("no_parent", "model")


def test_torch_that_is_not_installed_is_named() -> None:
    with pytest.raises(Unavailable, match="torch") as refused:
        check_needs(method("torch", available=False), source(0), None, None)
    assert refused.value.code == "needs_torch"


def test_files_are_found_by_the_schema() -> None:
    one = {"type": "string", "format": "file-id"}
    schema = {
        "properties": {
            "curves": {"anyOf": [one, {"type": "null"}]},
            "tasks": {"type": "object", "additionalProperties": one},
            "note": {"type": "string"},
        }
    }
    given = {"curves": "file-a", "tasks": {"mood": "file-b", "topic": "dataset-c"}, "note": "file-d"}
    found = list(file_ids({"name": "m", "hyperparameters": schema}, given))
    base = "method.m.hyperparameters"
    assert found == [
        (f"{base}.curves", "file-a"),
        (f"{base}.tasks.mood", "file-b"),
        (f"{base}.tasks.topic", "dataset-c"),
    ]
    assert list(file_ids({"name": "m", "hyperparameters": schema}, {"curves": None})) == []


def test_target_classes_must_be_known() -> None:
    check_needs(method("unlabelled"), source(0), source(3, ("b",)), None)
    with pytest.raises(InvalidInput) as refused:
        check_needs(method("unlabelled"), source(0), source(3, ("b", "c")), None)
    assert refused.value.code == "unknown_target_classes"


def checked(schema: dict[str, Any], value: Any) -> None:
    described = {"name": "m", "hyperparameters": {"properties": {"it": schema}}}
    check_values(described, {"it": value}, source(0))


def test_a_table_needs_a_row_for_every_class_and_equal_columns() -> None:
    table = {"anyOf": [{"type": "object", "format": "class-table"}, {"type": "null"}]}
    checked(table, {"a": {"red": 1}, "b": {"red": 0}, "unseen": {"red": 1}})
    checked(table, None)
    for wrong in ({"a": {"red": 1}}, {"a": {"red": 1}, "b": {"blue": 0}}):
        with pytest.raises(InvalidInput) as refused:
            checked(table, wrong)
        assert (refused.value.code, refused.value.param) == ("class_table", "method.m.hyperparameters.it")


def test_no_more_coefficients_than_examples() -> None:
    number = {"anyOf": [{"const": "auto"}, {"type": "integer", "format": "at-most-examples"}]}
    checked(number, 4)
    checked(number, "auto")
    with pytest.raises(InvalidInput) as refused:
        checked(number, 5)
    assert refused.value.code == "too_many_coefficients"


def test_a_file_of_another_task_holds_the_same_inputs_and_can_be_learnt_from() -> None:
    one = {"type": "string", "format": "training-file-id"}
    tasks = {"type": "object", "additionalProperties": one}
    described, given = (
        {"name": "m", "hyperparameters": {"properties": {"tasks": tasks}}},
        {"tasks": {"mood": "f"}},
    )
    assert [name for _, name in file_ids(described, given)] == ["f"]
    check_files(described, given, source(0), {"f": source(0, ("x", "y", "z"))}, 10)
    picture = replace(source(0), input=InputSpec(modality="image"))
    for other, most, code in (
        (picture, 10, "file_mismatch"),
        (source(0, ("x",)), 10, "too_few_classes"),
        (source(0, ("x", "y", "z")), 2, "too_many_classes"),
    ):
        with pytest.raises(InvalidInput) as refused:
            check_files(described, given, source(0), {"f": other}, most)
        assert refused.value.code == code
