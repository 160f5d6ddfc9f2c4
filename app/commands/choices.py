"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

# models.base says the same (a test compares them); importing it here would load pydantic for `--help`.
Modality = Literal["text", "image", "audio", "signal"]
Task = Literal["classification", "regression", "multilabel"]
Precision = Literal["int8", "fp16"]  # of models.backbone

ModalityOption = Annotated[Modality | None, typer.Option("--modality", help="Kind of input.")]
TaskOption = Annotated[Task | None, typer.Option("--task", help="What the labels are.")]
After = Annotated[str | None, typer.Option("--after", help="Go on behind this id.")]
Limit = Annotated[int, typer.Option("--limit", min=1, max=100, help="At most so many.")]
