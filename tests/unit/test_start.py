"""Where `durian serve` may be open, and where it does not start."""

from __future__ import annotations

from pathlib import Path

import pytest

from app import start
from app.admin import Admin
from app.settings import Settings


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of services that would have been started."""
    found: list[Settings] = []
    monkeypatch.setattr(start, "_serve_by_one", lambda settings, *_: found.append(settings))
    monkeypatch.setattr(start, "_serve_by_several", lambda settings, *_: found.append(settings))
    return found


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("host", "with_key", "auth", "runs_with"),
    [
        ("127.0.0.1", False, "auto", "auto"),
        ("localhost", False, "open", "open"),
        ("::1", False, "auto", "auto"),
        ("0.0.0.0", False, "auto", None),
        ("0.0.0.0", False, "open", None),
        ("0.0.0.0", False, "keys", None),
        ("0.0.0.0", True, "open", None),
        ("0.0.0.0", True, "auto", "keys"),
        ("::", True, "auto", "keys"),
        ("10.0.0.1", False, "auto", None),
        ("example.org", False, "auto", None),
        ("localhost.example.org", False, "auto", None),
        ("127.0.0.1.example.org", True, "keys", "keys"),
    ],
)
def test_off_the_loopback_address_a_key_is_needed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    started: list[Settings],
    host: str,
    with_key: bool,
    auth: str,
    runs_with: str | None,
    workers: int,
) -> None:
    monkeypatch.setenv("DURIAN_DATA", str(tmp_path))
    monkeypatch.setenv("DURIAN_AUTH", auth)
    if with_key:
        Admin(Settings()).create_key("t", "admin")
    if runs_with is None:
        with pytest.raises(SystemExit) as ended:
            start.serve(host=host, workers=workers)
        assert ended.value.code == 2
        assert "durian keys create" in capsys.readouterr().err
        assert started == []
    else:
        start.serve(host=host, workers=workers)
        assert [settings.auth for settings in started] == [runs_with]
