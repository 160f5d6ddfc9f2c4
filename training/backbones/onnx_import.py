"""onnx/<name>: any ONNX feature extractor, imported by an administrator.

The file is checked, adapted, tried in a limited child process, and only then put into place.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from models.backbone import GRAPH, BackboneCard, TextPreprocess, read_card, write_backbone
from models.base import ModalityName, sha256
from models.errors import Conflict, CorruptArtefact, InvalidInput
from models.modalities import preprocessor
from models.store import publish_folder
from training.backbones.adapt import EMBEDDING, Adapted, adapt
from training.backbones.operators import load_model
from training.backbones.part import Part, choose_part
from training.backbones.probe import probe
from training.backbones.source import Exported, staged, tidy
from training.backbones.spec import ImportSpec, read_spec

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
LARGEST_TOKENIZER = 64 * 1024**2


def import_onnx(
    model_path: Path,
    *,
    name: str,
    modality: ModalityName,
    input: str | None,
    output: str | None,
    preprocess: Mapping[str, Any],
    target_root: Path,
    licence: str = "unknown",
    source: str = "imported by an administrator",
) -> BackboneCard:
    """Add `onnx/<name>` under `target_root`, whole or not at all; importing the same again is no error.

    `input` and `output` may be None where the model has one each. `preprocess` is the content of
    spec.json (`training.backbones.spec`). Raises InvalidInput or TooLarge naming what does not fit, and
    Conflict when another backbone has that name.
    """
    _check_name(name)
    spec = read_spec(preprocess, modality)
    main = choose_part(load_model(model_path), input, output)
    frontend = _frontend(model_path.parent, spec)
    tokenizer = _tokenizer(model_path.parent, spec)

    def export(*, lower: bool) -> Exported:
        adapted = adapt(main, spec, frontend, lower=lower)
        files = {GRAPH: adapted.graph, **tokenizer}
        return Exported(_card(f"onnx/{name}", adapted, spec, files, licence, source), files)

    return _place(export, target_root)


def _check_name(name: str) -> None:
    if not NAME.fullmatch(name):
        message = "A name has 1 to 64 lower-case letters, digits, dots, dashes or underscores."
        raise InvalidInput(message, code="name", param="name")


def _frontend(folder: Path, spec: ImportSpec) -> Part | None:
    how = spec.pooling.frontend
    if how is None:
        return None
    return choose_part(load_model(folder / how.model), how.input, how.output, "frontend")


def _tokenizer(folder: Path, spec: ImportSpec) -> dict[str, bytes]:
    """The tokenizer.json beside a text model, as it is."""
    if not isinstance(spec.preprocess, TextPreprocess):
        return {}
    name = spec.preprocess.tokenizer
    try:
        with (folder / name).open("rb") as file:
            return {name: file.read(LARGEST_TOKENIZER)}
    except OSError:
        message = "A text model needs its tokenizer.json beside it."
        raise InvalidInput(message, code="tokenizer", param="tokenizer") from None


def _card(
    id: str,
    adapted: Adapted,
    spec: ImportSpec,
    files: dict[str, bytes],
    licence: str,
    source: str,
) -> BackboneCard:
    return BackboneCard(
        id=id,
        modality=spec.preprocess.kind,
        preprocess=spec.preprocess,
        input=adapted.input,
        taps=adapted.taps,
        default_tap=EMBEDDING,
        parameters=adapted.parameters,
        licence=licence,
        source=source,
        files={name: sha256(data) for name, data in files.items()},
    )


def _place(export: Callable[..., Exported], root: Path) -> BackboneCard:
    """Try the backbone, then publish it: with its lower taps, or without where those fail.

    A failed one leaves nothing. Raises Conflict when a backbone of that name computes something else.
    """
    whole = export(lower=True)
    target = root / whole.card.id
    tidy(target.parent)
    if not target.exists():
        _check_preprocessing(whole)
        with staged(target.parent) as folder:
            _write_tried(folder, whole, export)
            publish_folder(folder, target)
    there = read_card(target)  # of this import, or of another one that came first
    if there.digest != whole.card.digest and there.digest != export(lower=False).card.digest:
        message = "Another backbone has that name: choose a new one, or delete the old one first."
        raise Conflict(message, code="name_taken", param="name")
    return there


def _write_tried(folder: Path, whole: Exported, export: Callable[..., Exported]) -> None:
    try:
        write_backbone(folder, whole.card, whole.files)
        probe(folder)
    except InvalidInput as error:
        if error.code != "taps":
            raise
        plain = export(lower=False)
        write_backbone(folder, plain.card, plain.files)
        probe(folder)


def _check_preprocessing(exported: Exported) -> None:
    try:
        preprocessor(exported.card, exported.files)
    except CorruptArtefact as error:
        raise InvalidInput(error.message, code="tokenizer", param="tokenizer") from None
