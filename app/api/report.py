"""A job's report as a page: the numbers of `report.json`, drawn. No script, nothing loaded from elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, Template, select_autoescape

from models.report import CalibrationBin, Candidate, Confusion, Report

_TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Bar:
    """A horizontal bar, in parts of the full width; `low` to `high` is its whisker."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    text: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Cell:
    """One square of the confusion matrix."""

    x: int
    y: int
    count: int
    share: float
    right: bool
    title: str


def render(body: str) -> str:
    """The HTML page of a report given as JSON text."""
    report = Report.model_validate_json(body)
    return _template().render(
        report=report,
        headline=_headline(report),
        comparison=_comparison(report),
        candidates=sorted(report.candidates, key=_rank)[:20],
        cells=_cells(report.confusion),
        bins=[_bin(b) for b in report.calibration.bins if b.count] if report.calibration else [],
        total=sum(report.timings.values()),
    )


@cache
def _template() -> Template:
    environment = Environment(loader=FileSystemLoader(_TEMPLATES), autoescape=select_autoescape())
    environment.filters["number"] = _number
    return environment.get_template("report.html")


def _number(value: float | None, metric: str = "") -> str:
    """A metric as people write it: accuracies in per cent, errors with four digits."""
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if metric in ("accuracy", "micro_f1", "share") else f"{value:.4g}"


def _headline(report: Report) -> str:
    estimate = report.estimate
    text = _number(estimate.value, estimate.metric)
    if estimate.low is None or estimate.high is None:
        return text
    low, high = _number(estimate.low, estimate.metric), _number(estimate.high, estimate.metric)
    return f"{text} (95 % interval {low} to {high})"


def _comparison(report: Report) -> list[Bar]:
    """The model beside its baselines, on one scale (errors: relative to the largest)."""
    estimate = report.estimate
    metric = estimate.metric
    values = [
        v for v in (estimate.value, estimate.high, *(b.value for b in report.baselines)) if v is not None
    ]
    scale = max([*values, 1e-12]) if metric == "rmse" else 1.0
    value, low, high = (v and v / scale for v in (estimate.value, estimate.low, estimate.high))
    own = Bar(
        f"this model ({report.method})",
        value,
        low,
        high,
        text=_number(estimate.value, metric),
        strong=True,
    )
    others = [Bar(b.name, b.value / scale, text=_number(b.value, metric)) for b in report.baselines]
    return [own, *others]


def _rank(candidate: Candidate) -> tuple[bool, float]:
    return not candidate.chosen, candidate.loss if candidate.loss is not None else float("inf")


def _cells(confusion: Confusion | None) -> list[Cell]:
    if confusion is None or confusion.matrix is None:
        return []
    return [
        Cell(
            x=x,
            y=y,
            count=count,
            share=count / max(1, sum(row)),
            right=x == y,
            title=f"{confusion.labels[y]} taken for {confusion.labels[x]}: {count}",
        )
        for y, row in enumerate(confusion.matrix)
        for x, count in enumerate(row)
        if count
    ]


def _bin(b: CalibrationBin) -> Bar:
    return Bar(f"{b.low:.1f} to {b.high:.1f}", b.accuracy, b.confidence, b.confidence, str(b.count))
