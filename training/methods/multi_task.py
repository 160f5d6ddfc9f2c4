"""Several tasks on one trunk: one job, several datasets of inputs of one kind, one head each.

With `blocks` at 0 the trunk is fixed, every task gets the reference head of its kind, and nothing is
shared but the forward pass. Otherwise the last blocks are trained on the examples of all tasks together,
each task's loss weighted by an uncertainty that is learnt with it (Kendall, Gal, Cipolla 2018), so that
nobody has to say how much a miss in kilograms counts beside a wrong class.

The training file is the first task. The others answer under their names, in one graph with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from models.base import sha256
from models.errors import JobFailed
from models.fitspec import BackboneChoice
from models.manifest import Output
from training import head_track
from training.deep.graft import Graft
from training.deep.settings import DeepHyperparameters
from training.evaluate import half_width, named_metrics
from training.job import Job, Result, load_data
from training.methods.base import Auto, MethodInfo, Setting, register_procedure
from training.phases import Phases
from training.portfolio import REFERENCE
from training.several import Answer

_NAME = r"^[a-z0-9_-]{1,64}$"
_ENOUGH = 200
TaskFile = Annotated[str, Field(json_schema_extra={"format": "training-file-id"})]


class MultiTaskHyperparameters(DeepHyperparameters):
    tasks: dict[str, TaskFile] = Field(
        min_length=1,
        max_length=16,
        json_schema_extra={"propertyNames": {"pattern": _NAME}},
        description="name -> file or dataset of labelled inputs of the training file's kind",
    )
    name: str = Field(default="main", pattern=_NAME, description="what the training file's task is called")
    blocks: Auto | Literal["all"] | Annotated[int, Field(ge=0, le=1000)] = Field(
        default="auto",
        description="so many of the last are trained together, 0: none, heads alone (without torch); auto: 1 "
        "from 200 examples of all tasks on, where torch is installed",
    )

    @model_validator(mode="after")
    def _names_are_names(self) -> Self:
        if self.name in self.tasks or not all(re.match(_NAME, name) for name in self.tasks):
            raise ValueError("a task's name is taken, or is not of small letters, digits, - and _")
        return self


class MultiTask:
    info = MethodInfo(
        name="multi_task",
        title="Several tasks on one trunk, a head each",
        tasks=("classification", "regression", "multilabel"),
        setting="inductive",
        source="Caruana 1997; uncertainty weighting, Kendall, Gal, Cipolla 2018",
        hyperparameters=MultiTaskHyperparameters,
    )

    def run(self, job: Job) -> Result:
        given = MultiTaskHyperparameters.model_validate(job.spec.hyperparameters)
        parts = {name: _part(job, file) for name, file in given.tasks.items()}
        blocks = _blocks(given, len(job.data.pack) + sum(len(part.data.pack) for part in parts.values()))
        setting: Setting = {f"task.{name}": part.spec.training_digest for name, part in parts.items()}
        if blocks == 0:
            return _heads_alone(job, parts, given.name, setting)
        from training.deep.joint import run

        return run(job, parts, given, blocks, given.name, setting)


def _part(job: Job, file: str) -> Job:
    """Another task as a job of its own. Raises JobFailed (`file_mismatch`, or what it lacks)."""
    path = job.spec.extra_packs[file]
    pack = job.read_pack(path)
    if pack.input != job.data.pack.input:
        raise JobFailed(
            f"A task's file holds {pack.input.modality}, the training file {job.data.pack.input.modality}; "
            "all tasks take the same inputs (signals: on the same grid too).",
            code="file_mismatch",
        )
    files: dict[str, Any] = {
        "task": pack.task,
        "training_pack": path,
        "training_digest": sha256(Path(path).read_bytes()),
        "validation_pack": None,
        "unlabelled_pack": None,
    }
    spec = job.spec.model_copy(update=files)
    return Job(spec, load_data(spec), job.features, job.phases)


def _blocks(given: MultiTaskHyperparameters, examples: int) -> Literal["all"] | int:
    if given.blocks != "auto":
        if given.blocks != 0 and find_spec("torch") is None:
            message = "To train blocks of the backbone takes torch, which is not installed: ask for blocks 0."
            raise JobFailed(message, code="needs_torch")
        return given.blocks
    return 1 if examples >= _ENOUGH and find_spec("torch") is not None else 0


def _heads_alone(job: Job, parts: Mapping[str, Job], name: str, setting: Setting) -> Result:
    """The reference head of each task, all on the tap that suits the first task best."""
    own = _reference(job, job.spec.backbones)
    place = own.backbone.model_copy(update={"taps": (own.tap,)})
    others = {other: _reference(part, (place,)) for other, part in parts.items()}
    return replace(
        own,
        method=MultiTask.info.name,
        setting={**setting, "blocks": 0, **own.setting},
        answers=tuple(_answer(other, result) for other, result in others.items()),
        metrics=named_metrics({name: own.evidence} | {k: v.evidence for k, v in others.items()}),
    )


def _reference(job: Job, backbones: tuple[BackboneChoice, ...]) -> Result:
    more: dict[str, Any] = {
        "method": REFERENCE[job.spec.task],
        "hyperparameters": {},
        "backbones": backbones,
        "parent": None,
    }
    quiet = Phases(lambda event: None)
    return head_track.run(replace(job, spec=job.spec.model_copy(update=more), phases=quiet))[0]


def _answer(name: str, result: Result) -> Answer:
    task, head = result.evidence.problem.task, result.head
    output = Output(name=name, task=task, labels=result.labels, interval=half_width(result.evidence))
    return Answer(output, None if isinstance(head, Graft) else head)


register_procedure(MultiTask())
