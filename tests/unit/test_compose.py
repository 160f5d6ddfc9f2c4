"""docker-compose.yml and deploy/: every name in them is one that exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import yaml

from app.configuration import strangers
from app.db.database import Database
from app.engine.engine import BackboneStats, EngineStats
from app.engine.memory import Use
from app.engine.stats import Counters
from app.services.metrics import Metrics
from app.services.requests import Requests
from app.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
GPU: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
DOCKERFILE = (ROOT / "Dockerfile").read_text()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]

STRINGS = {"type": "array", "items": {"type": "string"}}
SERVICE = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "image": {"type": "string"},
        "build": {
            "type": "object",
            "additionalProperties": False,
            "required": ["context", "target", "args"],
            "properties": {
                "context": {"type": "string"},
                "target": {"type": "string"},
                "args": {"type": "object"},
            },
        },
        "command": STRINGS,
        "entrypoint": STRINGS,
        "environment": {"type": "object", "additionalProperties": {"type": "string"}},
        "secrets": STRINGS,
        "volumes": STRINGS,
        "ports": STRINGS,
        "profiles": STRINGS,
        "cap_drop": STRINGS,
        "security_opt": STRINGS,
        "tmpfs": STRINGS,
        "read_only": {"type": "boolean"},
        "restart": {"enum": ["no", "always", "on-failure", "unless-stopped"]},
        "stop_grace_period": {"type": "string", "pattern": r"^\d+s$"},
        "healthcheck": {
            "type": "object",
            "additionalProperties": False,
            "required": ["test", "interval", "timeout", "retries"],
            "properties": {
                "test": STRINGS,
                "interval": {"type": "string"},
                "timeout": {"type": "string"},
                "retries": {"type": "integer"},
            },
        },
        "depends_on": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "additionalProperties": False,
                "required": ["condition"],
                "properties": {"condition": {"enum": ["service_healthy", "service_completed_successfully"]}},
            },
        },
    },
}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_has_the_shape_of_one(name: str) -> None:
    jsonschema.validate(SERVICES[name], SERVICE)


def test_every_variable_is_a_setting() -> None:
    for service in SERVICES.values():
        assert strangers(service.get("environment", {}), Settings.model_fields) == []


def test_every_secret_and_volume_is_declared_and_used() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", ())}
    assert used | {"database_password"} == set(COMPOSE["secrets"])
    for service in SERVICES.values():
        told = re.findall(r"/run/secrets/(\w+)", json.dumps(service))
        assert set(told) <= set(service.get("secrets", ()))
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())]
    assert {name for name in mounted if not name.startswith(".")} == set(COMPOSE["volumes"])
    assert all((ROOT / name).exists() for name in mounted if name.startswith("."))


def test_every_image_is_built_from_a_target_that_there_is() -> None:
    targets = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
    arguments = set(re.findall(r"^ARG (\w+)", DOCKERFILE, re.MULTILINE))
    for service in SERVICES.values():
        if "build" in service:
            assert service["build"]["target"] in targets
            assert set(service["build"]["args"]) <= arguments
            for part in ("api", "worker"):
                assert (
                    ROOT / "requirements" / f"{part}-{service['build']['args']['VARIANT']}.lock"
                ).is_file()


def test_who_waits_for_health_waits_for_one_who_tells_it() -> None:
    for service in SERVICES.values():
        for name, condition in service.get("depends_on", {}).items():
            other = SERVICES[name]
            told = "healthcheck" in other or ("build" in other and "HEALTHCHECK" in DOCKERFILE)
            assert told or condition["condition"] == "service_completed_successfully"


def test_the_override_reserves_a_gpu_for_services_that_there_are() -> None:
    assert set(GPU["services"]) == {name for name, service in SERVICES.items() if "build" in service}
    for service in GPU["services"].values():
        (device,) = service["deploy"]["resources"]["reservations"]["devices"]
        assert device["driver"] == "nvidia"
        assert device["capabilities"] == ["gpu"]


def test_secrets_are_made_once(tmp_path: Path) -> None:
    script = shutil.copy(DEPLOY / "secrets.sh", tmp_path)

    def run() -> dict[str, str]:
        subprocess.run(["sh", script], check=True)
        return {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}

    made = run()
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == set(made)
    assert made["database_password"] in made["database_url"]
    Settings(database=made["database_url"])
    assert len(set(made.values())) == len(made)
    assert run() == made


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every name that the service's metrics have."""
    folder = tmp_path_factory.mktemp("metrics")
    db = Database(f"sqlite:///{folder / 'durian.sqlite'}")
    db.migrate()
    stats = EngineStats("cpu", 1, 0, 0, 1, (Use("head", 0, 0, 0),), (BackboneStats("a/b", "1", Counters()),))
    engine = SimpleNamespace(stats=lambda: stats)
    metrics = Metrics(engine, db, folder / "features", Requests(), list, lambda: {"engine": 0})
    text = metrics.render().decode()
    db.close()
    return {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}


@pytest.mark.parametrize("name", ["alerts.yml", "grafana/dashboards/durian.json"])
def test_alerts_and_dashboard_ask_for_series_that_there_are(name: str, series: set[str]) -> None:
    asked = set(re.findall(r"\bdurian_\w+", (DEPLOY / name).read_text()))
    assert asked
    assert asked <= series, asked - series


def test_what_prometheus_and_grafana_are_given() -> None:
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert prometheus["scrape_configs"][0]["static_configs"][0]["targets"] == ["api:8000"]
    folder = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())["datasources"][0]
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "durian.json").read_text())
    assert {panel["datasource"]["uid"] for panel in dashboard["panels"]} == {source["uid"]}
    provider = yaml.safe_load((folder / "dashboards" / "durian.yml").read_text())["providers"][0]
    mounted = [volume.split(":") for volume in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in {place[1] for place in mounted}


def test_each_alert_has_an_entry_in_the_runbook() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    rules = yaml.safe_load((DEPLOY / "alerts.yml").read_text())["groups"][0]["rules"]
    assert [rule["alert"] for rule in rules if f"`{rule['alert']}`" not in page] == []


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose")
def test_docker_compose_reads_both_files(tmp_path: Path) -> None:
    for name in ("docker-compose.yml", "docker-compose.gpu.yml"):
        # Debian's version knows no `name`, which later ones take the project's name from.
        text = (ROOT / name).read_text().replace("name: durian\n", "")
        (tmp_path / name).write_text(text)
    files = ["-f", "docker-compose.yml", "-f", "docker-compose.gpu.yml"]
    done = subprocess.run(
        ["docker-compose", *files, "config", "--quiet"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
