"""The bill of materials is complete; an audit that audited nothing is none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.supply.audit import CANARY, audit
from tests.supply.locks import LOCKS, ROOT, read
from tests.supply.sbom import LOCK, bill

BAD = {"id": "CVE-0000-1", "fix_versions": ["2"], "aliases": [], "description": ""}


def test_every_pin_has_its_hashes() -> None:
    for lock in LOCKS:
        assert len(read(lock)) == lock.read_text().count("==")
    assert {"numpy", "onnxruntime-gpu", "fastapi"} <= {pin.name for pin in read(LOCK)}


def test_a_pin_without_a_hash_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text("a==1\n")
    with pytest.raises(ValueError, match="a 1 is pinned without a hash"):
        read(tmp_path / "a.lock")


def test_the_bill_names_every_pin() -> None:
    made = bill()
    assert [c["name"] for c in made["components"]] == sorted(pin.name for pin in read(LOCK))
    assert all(c["externalReferences"][0]["hashes"] for c in made["components"])
    assert made == bill()
    refs = {component["bom-ref"] for component in made["components"]}
    assert {one["ref"] for one in made["dependencies"]} == refs | {made["metadata"]["component"]["bom-ref"]}
    assert set(made["dependencies"][0]["dependsOn"]) == refs


class Advisories:
    """Knows every package as good but those that are named bad; of the skipped ones it knows nothing."""

    def __init__(self, *bad: str, skipped: str = "") -> None:
        self.bad, self.skipped = bad, skipped

    def __call__(self, requirements: Path) -> list[dict[str, Any]]:
        if requirements.name == "canary.txt":
            pins = [CANARY.partition("==")[0]]
        else:
            pins = [pin.name for pin in read(requirements)]
        return [
            {"name": name, "skip_reason": "not found"}
            if self.skipped in ("all", name)
            else {"name": name, "version": "1", "vulns": [BAD] if name in self.bad else []}
            for name in pins
        ]


@pytest.mark.parametrize(
    ("advisories", "code", "says"),
    [
        (Advisories("jinja2"), 1, "jinja2"),  # the canary's name is one of our pins too
        (Advisories("canary"), 2, "canary"),
        (Advisories("jinja2", skipped="all"), 2, "canary"),
        (Advisories("jinja2", skipped="numpy"), 2, "not numpy"),
    ],
    ids=["a bad pin", "the canary is not found", "everything skipped", "one skipped"],
)
def test_an_audit_fails_unless_it_looked_at_everything(advisories: Advisories, code: int, says: str) -> None:
    said: list[str] = []
    assert audit([LOCK], advisories, said.append) == code
    assert says in " ".join(said)


def test_an_audit_of_good_pins_passes(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text(f"a==1 \\\n    --hash=sha256:{'0' * 64}\n")
    said: list[str] = []
    assert audit([lock], Advisories("jinja2"), said.append) == 0
    assert said == ["1 pins of 1 lock files, 0 known faults"]
    lock.write_text("")
    assert audit([lock], Advisories("jinja2"), said.append) == 2


def test_nothing_takes_an_address_to_fetch() -> None:
    """R12: nothing that serves can ask an address, so no input can make it."""
    clients = (
        "httpx",
        "requests",
        "urllib.request",
        "http.client",
        "aiohttp",
        "ftplib",
    )
    serving = [*(ROOT / "app").glob("*.py"), *(ROOT / "models").rglob("*.py")]
    for folder in ("api", "services", "engine", "db", "runners", "frontends"):
        serving += (ROOT / "app" / folder).rglob("*.py")
    assert len(serving) > 100
    serving.remove(ROOT / "app" / "health.py")  # a container's probe: a process of its own that asks this one
    for path in serving:
        text = path.read_text()
        assert not any(f"import {name}" in text or f"from {name}" in text for name in clients), path


@pytest.mark.parametrize("first", ["app.engine.providers", "training.artefact"])
def test_onnx_runtime_reports_to_nobody(first: str, tmp_path: Path) -> None:
    """Whichever of our modules is imported first: what it would report, it would write down here before."""
    code = f"import {first}, models.session as s; from tests.trunks import affine_onnx; import numpy as np;"
    code += "s.open_session(affine_onnx(np.zeros((2, 3), np.float32), np.zeros(2, np.float32), 'identity'))"
    kept = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    environment = kept | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, env=environment)
    assert not (tmp_path / ".cache" / "Microsoft").exists()
