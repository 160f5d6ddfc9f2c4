"""`python -m training.backbones setup | import | add | variant | verify | export | record`: JSON lines.

One line a backbone. An error is one line too, `{"error": {"code", "message", "param"}}`, with exit status 1.
Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import orjson

from models.backbone import BackboneCard, Precision, read_card
from models.errors import DurianError, InvalidInput
from models.shelf import Shelf

if TYPE_CHECKING:
    from training.backbones.verify import Verdict

SOURCES = {
    "hub": "training.backbones.hub",
    "torchvision": "training.backbones.vision",
    "vectors": "training.backbones.vectors",
}
"""Prefix of an id -> the module whose `add(name, *, weights, root, emit)` makes such backbones."""

VECTOR_OPTIONS = ("frequencies", "most")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return the exit status."""
    given = parser().parse_args(arguments)
    try:
        for found in given.run(given):
            _write(found.model_dump(mode="json") | {"digest": found.digest})
    except DurianError as error:
        _write({"error": {"code": error.code, "message": error.message, "param": error.param}})
        return 1
    except OSError as error:  # a full disk, a folder that may not be written
        message = f"{error.filename or 'A file'}: {error.strerror or type(error).__name__}."
        _write({"error": {"code": "io", "message": message, "param": None}})
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m training.backbones", description=__doc__)
    commands = top.add_subparsers(required=True)
    setup = commands.add_parser("setup", help="write the embedded backbones that are missing or out of date")
    setup.add_argument("root", type=Path)
    setup.set_defaults(run=_setup)
    _add_import(commands.add_parser("import", help="add any ONNX feature extractor as onnx/NAME"))
    _add_add(commands.add_parser("add", help="add a published model, downloaded or from given weights"))
    _add_variant(commands.add_parser("variant", help="add a smaller form of a backbone, with its effect"))
    _add_verify(commands.add_parser("verify", help="re-hash, load and run installed backbones"))
    _add_export(commands.add_parser("export", help="write a backbone's graph and card for others"))
    probe = commands.add_parser("probe", help="try a backbone folder in this process, with limits")
    probe.add_argument("folder", type=Path)
    probe.set_defaults(run=_probe)
    record = commands.add_parser("record", help="record the reference of text/minilm-l6 (needs torch)")
    record.set_defaults(run=_record)
    return top


def _add_import(command: argparse.ArgumentParser) -> None:
    command.add_argument("model", type=Path)
    command.add_argument("--name", required=True)
    command.add_argument("--modality", required=True, choices=("text", "image", "audio", "signal"))
    command.add_argument("--input", help="may be left out where the model has one")
    command.add_argument("--output", help="likewise")
    command.add_argument("--preprocess", type=Path, required=True, help="spec.json, or the card of an export")
    command.add_argument("--root", type=Path, required=True, help="folder of backbones")
    command.add_argument("--licence", default="unknown")
    command.add_argument("--source", default="imported by an administrator")
    command.set_defaults(run=_import)


def _add_add(command: argparse.ArgumentParser) -> None:
    command.add_argument("id", help=" or ".join(f"{prefix}/NAME" for prefix in SOURCES))
    command.add_argument("--weights", type=Path, help="file or folder to take in place of a download")
    command.add_argument("--frequencies", type=Path, help="counts of words, for vectors/NAME")
    command.add_argument("--most", type=int, help="words to keep, for vectors/NAME")
    command.add_argument("--root", type=Path, required=True, help="folder of backbones")
    command.set_defaults(run=_add)


def _add_variant(command: argparse.ArgumentParser) -> None:
    command.add_argument("id", metavar="ID")
    command.add_argument("--precision", choices=get_args(Precision), required=True)
    command.add_argument("--task", type=Path, help="labelled file: calibrates, and measures the effect")
    command.add_argument("--root", type=Path, required=True, help="folder of backbones to add to")
    _add_roots(command)
    command.set_defaults(run=_variant)


def _add_verify(command: argparse.ArgumentParser) -> None:
    command.add_argument("ids", nargs="*", metavar="ID", help="default: all")
    _add_roots(command)
    command.set_defaults(run=_verify)


def _add_export(command: argparse.ArgumentParser) -> None:
    command.add_argument("id", metavar="ID")
    command.add_argument("target", type=Path, help="FILE.onnx, or a new folder")
    command.add_argument("--tap", help="only what computes this tap")
    _add_roots(command)
    command.set_defaults(run=_export)


def _add_roots(command: argparse.ArgumentParser) -> None:
    command.add_argument("--roots", type=Path, nargs="+", required=True, help="folders of backbones")


def _setup(given: argparse.Namespace) -> Iterable[BackboneCard]:
    from training.backbones import setup

    return setup(given.root, emit=_tell)


def _import(given: argparse.Namespace) -> Iterable[BackboneCard]:
    from training.backbones.onnx_import import import_onnx

    card = import_onnx(
        given.model,
        name=given.name,
        modality=given.modality,
        input=given.input,
        output=given.output,
        preprocess=_spec(given.preprocess),
        target_root=given.root,
        licence=given.licence,
        source=given.source,
    )
    return [card]


def _add(given: argparse.Namespace) -> Iterable[BackboneCard]:
    prefix, _, name = given.id.partition("/")
    if prefix not in SOURCES or not name:
        message = f"No such source of backbones: an id begins with {' or '.join(f'{p}/' for p in SOURCES)}."
        raise InvalidInput(message, code="backbone_id", param="id")
    options = {key: getattr(given, key) for key in VECTOR_OPTIONS if getattr(given, key) is not None}
    if options and prefix != "vectors":
        message = f"Only word vectors take {' and '.join(VECTOR_OPTIONS)}: leave them out."
        raise InvalidInput(message, code="option", param=next(iter(options)))
    source = import_module(SOURCES[prefix])
    return [source.add(name, weights=given.weights, root=given.root, emit=_tell, **options)]


def _variant(given: argparse.Namespace) -> Iterable[BackboneCard]:
    from training.backbones.variants.make import add_variant

    _, folder = Shelf(given.roots).get(given.id)
    return [add_variant(folder, given.precision, given.task, given.root, _tell)]


def _verify(given: argparse.Namespace) -> Iterable[Verdict]:
    from training.backbones.verify import verify

    return verify(given.roots, given.ids, emit=_tell)


def _export(given: argparse.Namespace) -> Iterable[BackboneCard]:
    from training.backbones.export import export

    return [export(Shelf(given.roots).get(given.id), given.target, given.tap)]


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def _spec(path: Path) -> dict[str, object]:
    """The fields of a spec.json; a card holds them under `preprocess`."""
    try:
        fields = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        raise InvalidInput("The spec is no readable JSON.", code="preprocess", param="preprocess") from None
    found: dict[str, object] = fields.get("preprocess", fields) if isinstance(fields, dict) else fields
    return found


def _probe(given: argparse.Namespace) -> Iterable[BackboneCard]:
    from training.backbones import probe

    probe.limit_self(given.folder)
    probe.examine(given.folder)
    return [read_card(given.folder)]


def _record(given: argparse.Namespace) -> Iterable[BackboneCard]:
    from training.backbones.minilm_reference import record

    record()
    return []


def _write(answer: dict[str, object]) -> None:
    sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    raise SystemExit(main())
