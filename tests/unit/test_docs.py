"""Docs are tests: every setting stands in its table, every relative link leads somewhere."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from app.settings import Settings
from training.methods import METHODS, PROCEDURES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    told = set(re.findall(r"^\| `DURIAN_(\w+)`", page, re.MULTILINE))
    assert told == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_every_method_is_bound_not_to_import_another() -> None:
    files = {path.stem for path in (ROOT / "training" / "methods").glob("*.py")} - {"__init__", "base"}
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (bound,) = (c["modules"] for c in contracts if c["name"] == "methods do not import each other")
    assert {name.rpartition(".")[2] for name in bound} == files


def test_every_method_is_described() -> None:
    page = (ROOT / "docs" / "methods.md").read_text() + (ROOT / "docs" / "adaptation.md").read_text()
    told = set(re.findall(r"^\| `(\w+)`", page, re.MULTILINE))
    assert {*METHODS, *PROCEDURES} <= told
