"""`durian predict`: ask a model."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.commands.options import Session, remote
from app.commands.output import Columns, CommandError, local_file, read_text

if TYPE_CHECKING:
    from app.client.results import Model, Prediction, Predictions

_BATCH = 256
_WIDTH = 60
_SHOWN_SCORE = 0.01


@remote
def predict(
    session: Session,
    model: Annotated[str, typer.Argument(help="name, name:3 or name@alias.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Texts; files (@note.txt, seven.png, scan.csv); numbers (1.5,2,3); - for lines of stdin.",
        ),
    ],
    top_k: Annotated[int | None, typer.Option("--top-k", min=1, help="Classes to show of each.")] = None,
) -> None:
    """Ask a model: as many inputs as you like."""
    target = session.client.models.retrieve(model)
    names = list(_items(inputs))
    read = _READERS[target.modality or "text"]
    answers = list(_predict(session, target, [read(name) for name in names], top_k))
    if session.out.as_json:
        return session.out.json(_joined(answers))
    data = [prediction for answer in answers for prediction in answer.data]
    columns = _VALUE if target.task == "regression" else _LABELS
    return session.out.listing(None, zip(names, data, strict=True), columns)


def _predict(
    session: Session, target: Model, values: Sequence[Any], top_k: int | None
) -> Iterator[Predictions]:
    """In batches, all by the version that was live at the start."""
    for start in range(0, len(values), _BATCH):
        batch = values[start : start + _BATCH]
        yield session.client.predict(f"{target.id}:{target.version}", batch, top_k=top_k)


def _joined(answers: Sequence[Predictions]) -> dict[str, Any]:
    """The answers to several batches as one; indices follow the inputs."""
    if not answers:
        raise CommandError("There is nothing to predict: no input was given.")
    parts = [answer.model_dump(mode="json", exclude_unset=True, exclude={"usage"}) for answer in answers]
    data = [prediction for part in parts for prediction in part["data"]]
    return {**parts[0], "data": [{**prediction, "index": i} for i, prediction in enumerate(data)]}


def _items(inputs: Sequence[str]) -> Iterator[str]:
    for item in inputs:
        if item == "-":
            yield from (line.rstrip("\r\n") for line in sys.stdin if line.strip())
        else:
            yield item


def _text(item: str) -> str:
    return read_text(Path(item[1:])) if item.startswith("@") else item


def _media(item: str) -> Path:
    path = local_file(item.removeprefix("@"))
    if path is None:
        raise CommandError(f"There is no file {item}, and this model's inputs are files.")
    return path


def _signal(item: str) -> Any:
    """Numbers or `{"grid", "values"}`, written out or in a file; a comma, blank or line ends a number."""
    path = local_file(item.removeprefix("@"))
    value = _numbers(item if path is None else read_text(path))
    if value is None:
        raise CommandError(f"{_short(item)} is neither a list of finite numbers nor a file of one.")
    return value


def _numbers(text: str) -> Any:
    """The signal that `text` is, or None where it is none."""
    text = text.strip()
    try:
        value = json.loads(text) if text[:1] in ("[", "{") else list(map(float, re.split(r"[,;\s]+", text)))
        json.dumps(value, allow_nan=False)
    except ValueError:
        return None
    return value


_READERS: dict[str, Callable[[str], Any]] = {
    "text": _text,
    "image": _media,
    "audio": _media,
    "signal": _signal,
}


def _answer(prediction: Prediction) -> object:
    return "unknown" if prediction.unknown else prediction.label or None


def _runners_up(prediction: Prediction) -> str | None:
    others = [s for s in prediction.scores if s.label not in _labels(prediction) and s.score >= _SHOWN_SCORE]
    return ", ".join(f"{other.label} {other.score:.2f}" for other in others[:3]) or None


def _labels(prediction: Prediction) -> tuple[str | None, ...]:
    return prediction.label if isinstance(prediction.label, tuple) else (prediction.label,)


_LABELS: Columns = {
    "input": lambda row: _short(row[0]),
    "label": lambda row: _answer(row[1]),
    "score": lambda row: row[1].score,
    "then": lambda row: _runners_up(row[1]),
}
_VALUE: Columns = {
    "input": lambda row: _short(row[0]),
    "value": lambda row: row[1].value,
    "95 % interval": lambda row: row[1].interval,
}


def _short(item: str) -> str:
    line = " ".join(item.split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"
