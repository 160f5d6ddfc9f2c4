"""What every registered procedure owes, for every task it serves."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from pydantic import ValidationError

from models.base import TaskName
from models.manifest import Manifest
from tests.procedure_jobs import Done, ProcedureJobs
from training.methods import METHODS, PROCEDURES
from training.methods.base import register_procedure

RUNNABLE = [
    pytest.param(
        name,
        task,
        marks=pytest.mark.skipif(
            "torch" in procedure.info.needs and find_spec("torch") is None, reason="it needs torch"
        ),
    )
    for name, procedure in sorted(PROCEDURES.items())
    for task in procedure.info.tasks
]
every_pair = pytest.mark.parametrize(("name", "task"), RUNNABLE)
every_procedure = pytest.mark.parametrize("name", sorted(PROCEDURES))


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> ProcedureJobs:
    return ProcedureJobs(tmp_path_factory.mktemp("procedures"))


@pytest.fixture(scope="module")
def done(jobs: ProcedureJobs) -> dict[tuple[str, TaskName], Done]:
    """Jobs that were run for an earlier test of this file."""
    return {}


@every_procedure
def test_it_says_who_it_is(name: str) -> None:
    info = PROCEDURES[name].info
    assert info.name == name
    assert info.title
    assert info.tasks
    assert info.modalities
    assert info.setting in {"inductive", "transductive", "zero-shot", "one-shot", "few-shot"}
    assert any(character.isdigit() for character in info.source)  # a paper has a year
    assert (
        type(PROCEDURES[name]).__doc__ or sys.modules[type(PROCEDURES[name]).__module__].__doc__ or ""
    ).strip()


@every_procedure
def test_its_hyperparameters_have_a_closed_schema(name: str) -> None:
    info = PROCEDURES[name].info
    schema = info.describe()["hyperparameters"]
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert not validator.is_valid({"nonsense": 1})
    with pytest.raises(ValidationError):
        info.hyperparameters.model_validate({"nonsense": 1})


@every_procedure
def test_its_schema_and_its_reader_agree(name: str) -> None:
    """What the schema lets through is read; what is not is refused in words, not with another error."""
    info = PROCEDURES[name].info
    schema = info.describe()["hyperparameters"]
    plain = {key: field for key, field in schema["properties"].items() if "$ref" not in str(field)}
    for key, field in plain.items():
        validator = jsonschema.Draft202012Validator(field)
        for value in ("auto", "all", -1, 0, 1, 0.5, 1e9, True, "nonsense", [], ["nonsense"]):
            try:
                info.hyperparameters.model_validate({key: value})
            except ValidationError as error:
                elsewhere = all(problem["loc"][:1] != (key,) for problem in error.errors())
                assert elsewhere or not validator.is_valid(value), (key, value)


def test_names_are_unique_over_methods_and_procedures() -> None:
    assert not set(METHODS) & set(PROCEDURES)


def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="finetune"):
        register_procedure(PROCEDURES["finetune"])


def test_looking_at_procedures_does_not_import_torch() -> None:
    code = (
        "import sys; from training.methods import PROCEDURES; list(PROCEDURES); print('torch' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "False"


@every_pair
def test_a_job_leaves_an_artefact_that_answers_as_its_golden_examples(
    jobs: ProcedureJobs, done: dict[tuple[str, TaskName], Done], name: str, task: TaskName
) -> None:
    found = done[name, task] = jobs.run(name, task, f"{name}-{task}")
    answers = found.answers()
    assert np.isfinite(answers).all()
    assert answers.shape == (len(found.contents), found.manifest.head.out_dim)
    with np.load(found.output / "golden.npz") as golden:
        np.testing.assert_allclose(answers[: len(golden["outputs"])], golden["outputs"], atol=1e-4)
    own = answers[:, found.manifest.columns[0]]
    assert own.shape[1] == len(found.manifest.labels)
    if task == "classification":
        np.testing.assert_allclose(own.sum(axis=1), 1, atol=1e-5)
    assert found.report.method == found.manifest.method == name
    assert "auto" not in found.manifest.hyperparameters.values()
    stored = Manifest.model_validate_json((found.output / "manifest.json").read_bytes())
    assert stored.digest == found.manifest.digest


@every_pair
def test_the_same_job_gives_the_same_artefact(
    jobs: ProcedureJobs, done: dict[tuple[str, TaskName], Done], name: str, task: TaskName
) -> None:
    first = done.get((name, task)) or jobs.run(name, task, f"{name}-{task}-first")
    again = jobs.run(name, task, f"{name}-{task}-again")
    assert again.manifest.digest == first.manifest.digest
    assert Path(first.output) != Path(again.output)
