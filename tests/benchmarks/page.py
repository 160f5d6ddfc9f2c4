"""Sections as the Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.benchmarks.machine import Machine
from tests.benchmarks.results import Row, Section

_INTRO = """\
# Benchmarks

Written by `make bench` from `benchmarks.json`; not edited by hand. A section that could not run says so.
Every figure comes from a service that the benchmark starts, asked over HTTP unless the row says otherwise.
Load is the average of the last minute before and after: on a quiet machine the first is near 0, and the
second is the benchmark's own."""
_MARK = {True: "yes", False: "**no**", None: ""}


def page(sections: Mapping[str, Section]) -> str:
    """The whole page; sections in the order of their names."""
    ordered = [sections[name] for name in sorted(sections)]
    machines = list(dict.fromkeys(section.machine.canonical() for section in ordered))
    numbers = {key: number for number, key in enumerate(machines, 1)}
    parts = [_INTRO, _summary(ordered), "## Machine", _machines(ordered)]
    for section in ordered:
        where = f" on machine {numbers[section.machine.canonical()]}" if len(machines) > 1 else ""
        parts.append(_section(section, where))
    return "\n\n".join(parts) + "\n"


def _summary(sections: Sequence[Section]) -> str:
    rows = [
        (f"[{section.name}](#{_anchor(section.title)})", section.title, section.status, _asked(section.rows))
        for section in sections
    ]
    return _table(("benchmark", "of", "state", "as asked"), rows)


def _asked(rows: Sequence[Row]) -> str:
    verdicts = [row.met for row in rows if row.met is not None]
    return f"{sum(verdicts)} of {len(verdicts)}" if verdicts else ""


def _anchor(title: str) -> str:
    """As GitHub makes them: lower case, punctuation dropped, blanks to hyphens."""
    kept = "".join(letter for letter in title.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _machines(sections: Sequence[Section]) -> str:
    machines = list({section.machine.canonical(): section.machine for section in sections}.values())
    rows = [(str(number), *_machine(machine)) for number, machine in enumerate(machines, 1)]
    return _table(("", "CPU", "cores", "memory", "GPU", "system", "Python", "packages"), rows)


def _machine(machine: Machine) -> tuple[str, ...]:
    packages = ", ".join(f"{name} {version}" for name, version in machine.packages.items())
    memory = f"{machine.memory_gb:.0f} GB"
    gpu = machine.gpu or "none"
    return machine.cpu, str(machine.cores), memory, gpu, machine.system, machine.python, packages


def _section(section: Section, where: str) -> str:
    parts = [f"## {section.title}", section.about]
    if section.status != "measured":
        parts.append(f"**{section.status.capitalize()}**: {section.reason}")
    if section.quick:
        parts.append("A quick run: too few repetitions to judge by.")
    if section.rows:
        parts.append(_rows(section.rows))
    before, after = section.load
    parts.append(
        f"Run {section.started}{where} in {section.seconds:,.0f} s, load {before:.2f} before and {after:.2f} "
        f"after. Again: `{section.command}`"
    )
    return "\n\n".join(parts)


def _rows(rows: Sequence[Row]) -> str:
    cells = [(row.what, row.measured, row.asked, _MARK[row.met], row.how) for row in rows]
    return _table(("what", "measured", "asked", "met", "how"), cells)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
