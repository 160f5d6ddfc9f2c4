"""`durian recommend`: before training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from app.commands.options import Session, remote
from app.commands.output import Columns

if TYPE_CHECKING:
    from app.client.results import LeftOut

COLUMNS: Columns = {
    "backbone": lambda candidate: candidate.backbone,
    "tap": lambda candidate: candidate.tap,
    "LogME": lambda candidate: candidate.logme,
    "H-score": lambda candidate: candidate.h_score,
    "leave-one-out": lambda candidate: _left_out(candidate.loo),
}


@remote
def recommend(
    session: Session,
    data: Annotated[str, typer.Argument(help="Id of a file or dataset, or a local file to upload first.")],
    unlabelled: Annotated[
        str | None, typer.Option("--unlabelled", help="Examples of what the model will serve, likewise.")
    ] = None,
    most: Annotated[int, typer.Option("--most", min=1, help="Candidates to show.")] = 10,
) -> None:
    """Say which backbones and taps suit some examples, before training."""
    other = unlabelled and session.reference(unlabelled)
    found = session.client.recommend(session.reference(data), unlabelled_file=other)
    if session.out.as_json:
        return session.out.json(found)
    session.out.say(found, f"{found.setting.name}: {found.setting.why}")
    session.out.listing(found, found.candidates[:most], COLUMNS)
    for sentence in found.advice:
        session.out.say(found, f"- {sentence}")
    return None


def _left_out(loo: LeftOut | None) -> str | None:
    return None if loo is None else f"{loo.metric} {loo.value:.3g}"
