"""`durian doctor` on a healthy machine, and on one with each thing wrong in turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app import doctor
from app.cli import app


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DURIAN_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def examined() -> tuple[int, dict[str, dict[str, Any]]]:
    result = CliRunner().invoke(app, ["doctor", "--json"])
    return result.exit_code, {one["name"]: one for one in json.loads(result.stdout)["data"]}


def test_a_healthy_machine() -> None:
    code, found = examined()
    assert code == 0, found
    looked = ["python", "settings", "device", "torch", "disk", "database", "store", "backbones", "clock"]
    assert set(found) == {*looked, "data folder"}
    assert found["database"]["found"].startswith("sqlite, schema")


Patch = pytest.MonkeyPatch
WRONG: dict[str, Callable[[Patch, Path], None]] = {
    "python": lambda patch, _: patch.setattr(doctor, "_PYTHONS", ((2, 7),)),
    "settings": lambda patch, _: patch.setenv("DURIAN_LANES", "none"),
    "device": lambda patch, _: _gpu_without_cuda(patch),
    "data folder": lambda patch, folder: patch.setenv("DURIAN_STORE", f"file://{folder / 'absent'}"),
    "disk": lambda patch, _: patch.setattr(doctor, "_LEAST_DISK", 2**60),
    "database": lambda patch, folder: patch.setenv("DURIAN_DATABASE", f"postgresql://x@/x?host={folder}"),
    "store": lambda patch, _: _bucket_away(patch),
    "backbones": lambda patch, folder: patch.setenv("DURIAN_EMBEDDED_BACKBONES", str(folder)),
    "clock": lambda patch, _: patch.setattr(doctor, "_ahead_of_disk", lambda _: 60.0),
}


def _gpu_without_cuda(patch: Patch) -> None:
    patch.setattr("app.engine.providers.has_nvidia_device", lambda: True)
    patch.setattr("app.engine.providers.providers", lambda: ("CPUExecutionProvider",))


def _bucket_away(patch: Patch) -> None:
    patch.setenv("DURIAN_STORE", "s3://durian")
    patch.setenv("DURIAN_STORE_ENDPOINT", "http://127.0.0.1:9")
    patch.setenv("DURIAN_STORE_KEY", "key")
    patch.setenv("DURIAN_STORE_SECRET", "secret")


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_its_remedy(name: str, monkeypatch: Patch, tmp_path: Path) -> None:
    WRONG[name](monkeypatch, tmp_path)
    code, found = examined()
    assert code == 1
    assert not found[name]["ok"]
    assert found[name]["remedy"]


def test_for_people_the_remedies_stand_last(monkeypatch: Patch) -> None:
    monkeypatch.setattr(doctor, "_LEAST_DISK", 2**60)
    result = CliRunner().invoke(app, ["doctor"])
    assert "WRONG  disk" in result.stdout
    assert "disk: Make room" in result.stdout.splitlines()[-1]
