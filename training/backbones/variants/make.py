"""`durian backbones variant`: build, prove, measure on a fitted task, and only then publish."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models.backbone import GRAPH, BackboneCard, Precision, read_card, write_backbone
from models.base import sha256
from models.dataset import Pack
from models.errors import Conflict, InvalidInput, NotFound
from models.formats import read_pack
from models.manifest import BackboneRef
from models.modalities.base import Prepared
from models.runtime import Backbone
from models.store import publish_folder, verify_files
from training.backbones.probe import random_examples
from training.backbones.source import staged, tidy
from training.backbones.variants.effect import Task, measure
from training.backbones.variants.half import halve
from training.backbones.variants.int8 import quantise
from training.backbones.variants.proof import prove
from training.problem import check_trainable, labelled_rows

MOST = 2_000  # examples of a task that are measured
CALIBRATED, PROVED = 64, 12
SEED = 0
Emit = Callable[[str], object]


def add_variant(
    folder: Path, precision: Precision, task_file: Path | None, root: Path, emit: Emit
) -> BackboneCard:
    """Add `<id>-<precision>` of the backbone in `folder` under `root`, whole or not at all.

    `task_file` is any labelled file that the formats read: its examples calibrate the activations and
    its labels measure the effect. The same variant again is no error: the published one stays. Raises
    InvalidInput (`task_required`, `task_mismatch`, `too_few_examples`, `variant_of_variant`, `opset`,
    `nothing_to_quantise`, `nothing_to_halve`, or what the file is refused with), CorruptArtefact where
    the variant is not proved, and Conflict when another backbone has its id.
    """
    original = Backbone(folder)
    task = _task(task_file, original.card)
    files = verify_files(folder, original.card.files)
    examples = [original.preprocessor.prepare(content) for content in task.pack.contents[:CALIBRATED]]
    files |= {GRAPH: _build(original, files[GRAPH], precision, examples)}
    card = _card(original.card, precision, files)
    target = root / card.id
    tidy(target.parent)
    if not target.exists():
        with staged(target.parent) as aside:
            write_backbone(aside, card, files)
            variant = Backbone(aside)
            prove(variant, [*random_examples(variant), *examples[:PROVED]], precision)
            emit(f"{card.id}: finite, repeatable, independent of the batch; measuring on {task.name}")
            card = _measured(original, variant, task)
            write_backbone(aside, card, {})
            publish_folder(aside, target)
    return _same(card, target)


def _task(file: Path | None, card: BackboneCard) -> Task:
    """At most `MOST` labelled examples of the file, drawn with a seed."""
    if file is None:
        message = "A variant is offered only with its measured effect: give a labelled file of a task."
        raise InvalidInput(message, code="task_required", param="task")
    _check_original(card)
    pack = _read(file)
    if pack.input.modality != card.modality:
        message = f"{card.id} takes {card.modality}, and the task holds {pack.input.modality}."
        raise InvalidInput(message, code="task_mismatch", param="task")
    pack = pack.select(labelled_rows(pack))
    check_trainable(pack)
    drawn = np.random.default_rng(SEED).permutation(len(pack))[:MOST]
    return Task(file.stem, pack.select(drawn.tolist()))


def _read(file: Path) -> Pack:
    try:
        data = file.read_bytes()
    except OSError:
        raise NotFound("The task's file cannot be read.", param="task") from None
    return read_pack(file.name, data, modality=None, task=None)


def _check_original(card: BackboneCard) -> None:
    if card.variant_of is not None:
        message = f"{card.id} is a variant itself: make one of {card.variant_of.id}."
        raise InvalidInput(message, code="variant_of_variant", param="id")


def _build(original: Backbone, graph: bytes, precision: Precision, examples: list[Prepared]) -> bytes:
    if precision == "fp16":
        return halve(graph)
    return quantise(graph, [original.preprocessor.collate([example]) for example in examples])


def _card(original: BackboneCard, precision: Precision, files: dict[str, bytes]) -> BackboneCard:
    """The original's card under the variant's name; its effect is not known yet."""
    return original.model_copy(
        update={
            "id": f"{original.id}-{precision}",
            "variant_of": BackboneRef(id=original.id, digest=original.digest),
            "precision": precision,
            "files": {name: sha256(data) for name, data in files.items()},
        }
    )


def _measured(original: Backbone, variant: Backbone, task: Task) -> BackboneCard:
    """The variant's card with its effect. Raises InvalidInput where the task has nothing to hold out."""
    effect = measure(original, variant, task)
    if effect is None:
        message = "No class of the task has two examples, so nothing can be held out: label more."
        raise InvalidInput(message, code="too_few_examples", param="task")
    return variant.card.model_copy(update={"effect": effect})


def _same(card: BackboneCard, target: Path) -> BackboneCard:
    there = read_card(target)
    if there.digest != card.digest:
        message = "A variant calibrated otherwise has that id: delete it first; models on it need it back."
        raise Conflict(message, code="name_taken", param="id")
    return there
