"""Settings from the environment, files and durian.toml; what is wrong is named, secrets are not told."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.configuration import check_environment, strangers
from app.settings import Settings
from models.errors import InvalidInput


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_environment_counts_before_a_file_and_a_file_before_toml(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "durian.toml").write_text('lanes = 3\njobs = 3\nmax_queue = 3\npinned = ["text/a"]\n')
    (folder / "number").write_text("2\n")
    monkeypatch.setenv("DURIAN_JOBS_FILE", str(folder / "number"))
    monkeypatch.setenv("DURIAN_LANES_FILE", str(folder / "number"))
    monkeypatch.setenv("DURIAN_LANES", "1")
    settings = Settings()
    assert (settings.lanes, settings.jobs, settings.max_queue) == (1, 2, 3)
    assert settings.pinned == ("text/a",)


def test_the_toml_file_may_have_another_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "other.toml").write_text("lanes = 7")
    monkeypatch.setenv("DURIAN_CONFIG", "other.toml")
    assert Settings().lanes == 7
    monkeypatch.setenv("DURIAN_CONFIG", "none.toml")
    with pytest.raises(InvalidInput, match=r"DURIAN_CONFIG: there is no file none\.toml"):
        Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LANES", "0"),
        ("JOBS", "many"),
        ("DATABASE", "mysql://me:hunter2@host/durian"),
        ("STORE", "ftp://hunter2@host"),
        ("AUTH", "hunter2"),
    ],
)
def test_a_wrong_setting_stops_the_start_and_is_named(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"DURIAN_{name}", value)
    result = CliRunner().invoke(app, ["serve", "--port", "0"])
    assert result.exit_code == 1
    assert f"DURIAN_{name}: " in result.stderr
    assert "hunter2" not in result.stderr


def test_a_line_of_toml_that_is_no_setting_is_named(folder: Path) -> None:
    (folder / "durian.toml").write_text("lane = 3")
    with pytest.raises(InvalidInput, match="DURIAN_LANE: "):
        Settings()


def test_a_file_that_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURIAN_DATABASE_FILE", "/nowhere/at/all")
    with pytest.raises(InvalidInput, match="DURIAN_DATABASE_FILE: /nowhere/at/all cannot be read"):
        Settings()


def test_a_misspelt_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DURIAN_LANE", "3")
    with pytest.raises(InvalidInput, match="no setting DURIAN_LANE"):
        check_environment(Settings)
    result = CliRunner().invoke(app, ["worker"])
    assert result.exit_code == 1
    assert "DURIAN_LANE" in result.stderr


def test_what_looks_like_a_setting_and_is_none() -> None:
    given = {"DURIAN_LANES": "", "DURIAN_LANES_FILE": "", "DURIAN_URL": "", "DURIAN_X": "", "OTHER": ""}
    assert strangers(given, ["lanes"]) == ["DURIAN_X"]
