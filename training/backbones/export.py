"""A backbone for others to use: its graph, whole or ended at a tap, with its card and all that it needs."""

from __future__ import annotations

import os
from pathlib import Path

import orjson

from models.backbone import GRAPH, BackboneCard, Tap, TextPreprocess, write_backbone
from models.base import sha256
from models.errors import Conflict, InvalidInput
from models.graphs import prune
from models.shelf import Entry
from models.store import publish_folder, verify_files
from training.backbones.graph import count_parameters
from training.backbones.source import Exported, staged

ONNX = ".onnx"


def export(entry: Entry, target: Path, tap: str | None = None) -> BackboneCard:
    """Write the backbone to `target`, with `tap` only what computes that tap; return its card.

    A target that ends in `.onnx` becomes the graph alone, with its card beside it as `.json` and the
    tokenizer of a text backbone as `.tokenizer.json`; any other a folder of `card.json`, `model.onnx` and
    what they need. Raises Conflict (`exists`) rather than overwrite, InvalidInput for a tap that is not
    there (`tap`) or a place that is not there (`target`), CorruptArtefact where the backbone is damaged.
    """
    card, folder = entry
    exported = Exported(card, verify_files(folder, card.files))
    if tap is not None:
        exported = ended_at(exported, _tap(card, tap))
    if not target.absolute().parent.is_dir():
        raise InvalidInput("The folder to write into does not exist: make it first.", code="target")
    return (_write_file if target.suffix == ONNX else _write_folder)(exported, target.absolute())


def ended_at(whole: Exported, tap: Tap) -> Exported:
    """The backbone without what lies above or beside a tap, under an id of its own, `<id>.<tap>`."""
    graph = prune(whole.files[GRAPH], [tap.name])
    files = whole.files | {GRAPH: graph}
    changes = {
        "id": f"{whole.card.id}.{tap.name}",
        "taps": (tap,),
        "default_tap": tap.name,
        "parameters": count_parameters(graph),
        "source": f"{whole.card.source.rstrip('.')}; ended at its tap {tap.name}",
        "files": {name: sha256(data) for name, data in files.items()},
    }
    return Exported(whole.card.model_copy(update=changes), files)


def _tap(card: BackboneCard, name: str) -> Tap:
    try:
        return card.tap(name)
    except KeyError:
        known = ", ".join(tap.name for tap in card.taps)
        message = f"The backbone has no tap of that name. Its taps: {known}."
        raise InvalidInput(message, code="tap", param="tap") from None


def _write_folder(exported: Exported, target: Path) -> BackboneCard:
    """Whole or not at all."""
    _refuse_existing(target)
    with staged(target.parent) as folder:
        write_backbone(folder, exported.card, exported.files)
        publish_folder(folder, target)
    return exported.card


def _write_file(exported: Exported, target: Path) -> BackboneCard:
    """The card last: where it is, the rest is too."""
    names = {name: target.with_suffix(ONNX if name == GRAPH else f".{name}") for name in exported.files}
    card = _renamed(exported.card, {name: path.name for name, path in names.items()})
    described = {path: exported.files[name] for name, path in names.items()}
    described[target.with_suffix(".json")] = orjson.dumps(
        card.model_dump(mode="json"), option=orjson.OPT_INDENT_2
    )
    _refuse_existing(*described)
    with staged(target.parent) as folder:
        for path, data in described.items():
            (folder / path.name).write_bytes(data)
        for path in described:
            os.rename(folder / path.name, path)
    return card


def _renamed(card: BackboneCard, names: dict[str, str]) -> BackboneCard:
    """The card of the same files under other names."""
    how = card.preprocess
    if isinstance(how, TextPreprocess):
        how = how.model_copy(update={"tokenizer": names[how.tokenizer]})
    files = {names[name]: digest for name, digest in card.files.items()}
    return card.model_copy(update={"preprocess": how, "files": files})


def _refuse_existing(*paths: Path) -> None:
    for path in paths:
        if path.exists():
            message = f"{path.name} is there already: choose another name, or delete it first."
            raise Conflict(message, code="exists", param="target")
