"""Rows -> pack: what kind of input they hold, each made canonical, repeats folded."""

from __future__ import annotations

from collections.abc import Sequence

from models.base import Label, ModalityName
from models.dataset import Pack, example_digest
from models.errors import Conflict, InvalidInput
from models.formats.labels import resolve
from models.formats.rows import Parsed, Row, Wanted, check_count
from models.manifest import InputSpec, SignalGrid
from models.modalities import modality
from models.modalities.faults import fault
from models.modalities.media import sniff, string_modality
from models.modalities.signal import parse, reference_grid

MAX_WARNINGS = 20


def assemble(parsed: Parsed, wanted: Wanted, grid: SignalGrid | None = None) -> Pack:
    """Validate every row; the first one that is wrong is named in the error.

    `grid` is the reference grid that signals are put on; without it, it is derived from the rows.
    Raises InvalidInput, UnsupportedMedia, TooLarge, and Conflict `conflicting_labels`.
    """
    if not parsed.rows:
        raise InvalidInput(
            "The file has no examples. Give at least one row.", code="empty_file", param="file"
        )
    check_count(len(parsed.rows))
    kind = wanted.modality or parsed.modality or infer(parsed.rows[0])
    task, labels, doubts = resolve(parsed.rows, wanted.task)
    spec, rows = _spec(kind, parsed.rows, grid)
    fold = _Fold()
    decoder = modality(kind)
    for row, label in zip(rows, labels, strict=True):
        fold.add(row.where, decoder.canonical(row.input, spec, row.where), label)
    warnings = (*parsed.warnings, *doubts, *_shortened(fold.repeats))
    return Pack(task, spec, tuple(fold.contents), tuple(fold.labels), warnings)


def infer(row: Row) -> ModalityName:
    """The modality that an input looks like. Raises InvalidInput `bad_input`."""
    found: ModalityName | None = None
    if isinstance(row.input, (list, tuple, dict)):
        found = "signal"
    elif isinstance(row.input, str):
        found = string_modality(row.input)
    elif isinstance(row.input, bytes):
        kind = sniff(row.input)
        found = kind.modality if kind else None
    if found is None:
        raise fault(
            row.where,
            "the input is of no kind that Durian reads. Give text, base64 of an image or a sound, a list of "
            'numbers, or {"grid": [...], "values": [...]}.',
            "bad_input",
        )
    return found


def _spec(
    kind: ModalityName, rows: Sequence[Row], grid: SignalGrid | None
) -> tuple[InputSpec, Sequence[Row]]:
    """The input spec, and the rows with signals parsed (once, for the grid and for their content)."""
    if kind != "signal":
        return InputSpec(modality=kind), rows
    rows = [row._replace(input=parse(row.input, row.where)) for row in rows]
    grid = grid or reference_grid([(row.where, row.input) for row in rows])
    return InputSpec(modality=kind, grid=grid), rows


class _Fold:
    """Examples so far, each content once."""

    def __init__(self) -> None:
        self.contents: list[bytes] = []
        self.labels: list[Label] = []
        self.repeats: list[str] = []
        self._places: list[str] = []
        self._rows: dict[str, int] = {}

    def add(self, where: str, content: bytes, label: Label) -> None:
        """A repeated content lends its label to an unlabelled first one; another label is a Conflict."""
        row = self._rows.setdefault(example_digest(content), len(self.contents))
        if row == len(self.contents):
            self.contents.append(content)
            self.labels.append(label)
            self._places.append(where)
            return
        self._merge(row, where, label)

    def _merge(self, row: int, where: str, label: Label) -> None:
        known = self.labels[row]
        if known is None:
            self.labels[row] = label
        elif label is not None and label != known:
            raise Conflict(
                f"{where} repeats the content of {self._places[row]} with another label. Keep one of them.",
                code="conflicting_labels",
                param=where,
            )
        self.repeats.append(f"{where} repeats {self._places[row]}")


def _shortened(repeats: list[str]) -> list[str]:
    more = len(repeats) - MAX_WARNINGS
    return repeats if more <= 0 else [*repeats[:MAX_WARNINGS], f"and {more} more repeated rows"]
