"""The engine's process ends when its device is lost, for the supervisor to start it anew."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from app.frontends.host import DeviceLost, Host
from app.frontends.sockets import listener
from app.main import build
from app.runners.inline import InlineRunner
from app.services.health import Health
from app.settings import Settings


def test_a_lost_device_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = build(Settings(data=tmp_path, lanes=1), InlineRunner())
    monkeypatch.setattr(Health, "degraded", lambda self: ["device_lost"])
    beats: list[int] = []
    with listener(f"\0durian-test-{tmp_path}") as listening:
        host = Host(process, listening, lambda: beats.append(1))
        with pytest.raises(DeviceLost):
            asyncio.run(asyncio.wait_for(host.run(asyncio.Event()), 5))
    assert beats == []
    monkeypatch.undo()
    process.close()


def test_what_is_merely_degraded_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    process = build(Settings(data=tmp_path, lanes=1), InlineRunner())
    monkeypatch.setattr(Health, "degraded", lambda self: ["database", "disk_full"])

    async def run() -> None:
        stop = asyncio.Event()
        with listener(f"\0durian-test2-{tmp_path}") as listening:
            await asyncio.wait_for(Host(process, listening, stop.set).run(stop), 5)

    asyncio.run(run())
    monkeypatch.undo()
    process.close()
