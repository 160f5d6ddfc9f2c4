"""`durian backbones`: what models stand on; importing one is an administrator's act on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.choices import Modality, Precision
from app.commands.options import Session, local, remote
from app.commands.output import Columns, Output

if TYPE_CHECKING:
    from app.client.results import Backbone

app = typer.Typer(help="Pretrained backbones.", no_args_is_help=True)

COLUMNS: Columns = {
    "id": lambda backbone: backbone.id,
    "modality": lambda backbone: backbone.modality,
    "dimensions": lambda backbone: backbone.embedding_dim,
    "parameters": lambda backbone: f"{backbone.parameters:,}",
    "licence": lambda backbone: backbone.licence,
    "ready": lambda backbone: backbone.ready,
}


@app.command("list")
@remote
def list_backbones(session: Session) -> None:
    """List the backbones of the service."""
    page = session.client.backbones.list()
    session.out.listing(page, page.data, COLUMNS)


@app.command()
@remote
def show(
    session: Session, backbone_id: Annotated[str, typer.Argument(metavar="BACKBONE", help="Its id.")]
) -> None:
    """Show one backbone. A tap has its dimensions and its depth: 0 at the input, 1 at the top."""
    backbone: Backbone = session.client.backbones.retrieve(backbone_id)
    fields = {name: column(backbone) for name, column in COLUMNS.items()}
    session.out.record(backbone, {**fields, **_details(backbone)})


def _details(backbone: Backbone) -> dict[str, object]:
    """What a listing leaves out; None where it is not so."""
    effect = backbone.effect and backbone.effect.model_dump()
    return {
        "baseline": backbone.baseline or None,
        "default tap": backbone.default_tap,
        "taps": [f"{tap.name} ({tap.dim} at {tap.depth:.2g})" for tap in backbone.taps],
        "variant of": backbone.variant_of and backbone.variant_of.id,
        "precision": backbone.precision,
        "effect": effect and _effect(effect),
        "source": backbone.source,
        "digest": backbone.digest,
    }


@app.command()
@local
def setup(out: Output) -> None:
    """Make the embedded backbones, once after installation."""
    from app.commands.training import run_backbones
    from app.settings import Settings

    cards = run_backbones("setup", Settings().embedded_backbones)
    ready = ", ".join(card["id"] for card in cards)
    out.say({"object": "list", "data": cards}, f"ready: {ready}")


@app.command()
@local
def add(
    out: Output,
    backbone_id: Annotated[
        str,
        typer.Argument(
            metavar="ID", help="hub/<organisation>/<model>, torchvision/<model> or vectors/<name>."
        ),
    ],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", exists=True, help="File or folder to take in place of a download."),
    ] = None,
    frequencies: Annotated[
        Path | None,
        typer.Option("--frequencies", exists=True, dir_okay=False, help="Word counts, for vectors/<name>."),
    ] = None,
    most: Annotated[
        int | None, typer.Option("--most", min=1, help="Words to keep, for vectors/<name> (200,000).")
    ] = None,
) -> None:
    """Add a published model as a backbone (on the service's machine and data directory)."""
    from app.commands.training import run_backbones
    from app.settings import Settings

    (card,) = run_backbones(
        "add",
        backbone_id,
        weights=weights,
        frequencies=frequencies,
        most=most,
        root=Settings().backbones,
    )
    out.say(card, f"added {card['id']}; a running service offers it at once")


@app.command("import")
@local
def import_(
    out: Output,
    model: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="A feature extractor, .onnx.")],
    name: Annotated[str, typer.Option("--name", help="It will be onnx/<name>.")],
    modality: Annotated[Modality, typer.Option("--modality", help="Kind of input.")],
    preprocess: Annotated[
        Path,
        typer.Option(
            "--preprocess",
            exists=True,
            dir_okay=False,
            help="How inputs are prepared: spec.json, or the card of an export.",
        ),
    ],
    input_: Annotated[str | None, typer.Option("--input", help="The input, if it has several.")] = None,
    output: Annotated[
        str | None, typer.Option("--output", help="The output with the features, if it has several.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Licence of the weights.")] = None,
    source: Annotated[str | None, typer.Option("--source", help="Where the weights are from.")] = None,
) -> None:
    """Import an ONNX feature extractor as a backbone (on the service's machine and data directory)."""
    from app.commands.training import run_backbones
    from app.settings import Settings

    (card,) = run_backbones(
        "import",
        model,
        name=name,
        modality=modality,
        input=input_,
        output=output,
        preprocess=preprocess,
        root=Settings().backbones,
        licence=licence,
        source=source,
    )
    out.say(card, f"imported {card['id']}; a running service offers it at once")


@app.command()
@local
def verify(
    out: Output,
    backbone_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[BACKBONE]...", help="Their ids; all without any.")
    ] = None,
) -> None:
    """Check installed backbones: files against the card, then a probe batch. Exit status 1 if one fails."""
    from app.commands.training import run_backbones
    from app.settings import Settings

    found = run_backbones("verify", *(backbone_ids or ()), roots=Settings().backbone_roots)
    out.say({"object": "list", "data": found}, "\n".join(map(_verdict, found)))
    if not all(verdict["ok"] for verdict in found):
        raise typer.Exit(1)


def _verdict(found: dict[str, Any]) -> str:
    if not found["ok"]:
        return f"FAILED  {found['id']}: {found['message']} ({found['code']})"
    variance = f"alone and batched differ by {found['batch_difference']:.0e}"
    return f"ok      {found['id']}: {found['taps']} taps, {variance}, {found['seconds']:.1f} s"


@app.command()
@local
def export(
    out: Output,
    backbone_id: Annotated[str, typer.Argument(metavar="BACKBONE", help="Its id.")],
    target: Annotated[
        Path, typer.Argument(metavar="FILE.onnx|FOLDER", help="What to write; nothing is overwritten.")
    ],
    tap: Annotated[
        str | None, typer.Option("--tap", help="Only what computes this tap, as a backbone of its own.")
    ] = None,
) -> None:
    """Write a backbone as ONNX with its card, for use elsewhere."""
    from app.commands.training import run_backbones
    from app.settings import Settings

    roots = Settings().backbone_roots
    (card,) = run_backbones("export", backbone_id, target.absolute(), tap=tap, roots=roots)
    out.say(card, f"wrote {card['id']} to {target}: {', '.join(card['files'])} and its card")


@app.command()
@local
def variant(
    out: Output,
    backbone_id: Annotated[str, typer.Argument(metavar="BACKBONE", help="Its id.")],
    precision: Annotated[
        Precision, typer.Option("--precision", help="int8 is for the CPU, fp16 for the GPU.")
    ],
    task: Annotated[
        Path | None,
        typer.Option(
            "--task", exists=True, dir_okay=False, help="A labelled file: the effect is measured on it."
        ),
    ] = None,
) -> None:
    """Add a smaller form of a backbone, as a backbone of its own with its measured effect."""
    from app.commands.training import run_backbones
    from app.settings import Settings

    settings = Settings()
    (card,) = run_backbones(
        "variant",
        backbone_id,
        precision=precision,
        task=task,
        root=settings.backbones,
        roots=settings.backbone_roots,
    )
    out.say(card, f"added {card['id']}: {_effect(card['effect'])}")


def _effect(effect: dict[str, Any]) -> str:
    smaller = effect["bytes_original"] / effect["bytes"]
    return (
        f"{effect['metric']} {effect['original']:.4f} -> {effect['variant']:.4f} on {effect['task']}, "
        f"{effect['speed']:.2f} x the items per CPU second, {smaller:.1f} x smaller"
    )
