"""What `docker compose up` starts, started without Docker from the same file: PostgreSQL of this machine,
moto's server as the S3-compatible store, `api` and `worker` of this checkout; Prometheus' configuration is
followed as Prometheus does, and read by promtool where that is installed."""

from __future__ import annotations

import copy
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from sqlalchemy import select

from app import health
from app.client import Client
from app.db.database import Database
from app.db.tables import Job
from tests.buckets import empty_s3
from tests.composed import ROOT, Composed, Mistake, Service, compose
from tests.ports import free_port
from tests.postgres import needs_postgres, postgres_with_password
from tests.support import jsonl
from tests.support import signal as wave

START_SECONDS = 90.0
API, STORE, POSTGRES = 8000, 9000, 5432
MC = """\
import pathlib, sys, urllib.request
match sys.argv[1:]:
    case "alias", "set", name, url, key, secret:
        assert [key, secret] == pathlib.Path(__file__).with_name("root").read_text().split()
        pathlib.Path(__file__).with_name(name).write_text(url)
    case "mb", "--ignore-existing", place:
        alias, bucket = place.split("/")
        url = pathlib.Path(__file__).with_name(alias).read_text()
        urllib.request.urlopen(urllib.request.Request(f"{url}/{bucket}", method="PUT"))
"""
"""MinIO's client, as far as the file needs it: it knows the store's user from a file beside it."""


def laid_out(folder: Path, spec: dict[str, Any]) -> Composed:
    """With its secrets made, by the script, and ports for what listens."""
    (folder / "deploy").mkdir(parents=True)
    script = shutil.copy(ROOT / "deploy" / "secrets.sh", folder / "deploy")
    subprocess.run(["sh", script], check=True)
    found = Composed(spec, folder)
    found.places |= {("api", API): free_port(), ("postgres", POSTGRES): free_port()}
    return found


class Engine:
    """Starts each service when those that it waits for are well, and ends all with `stack`."""

    def __init__(self, composed: Composed, folder: Path, stack: ExitStack) -> None:
        self.composed = composed
        self.folder = folder
        self.stack = stack
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def up(self, name: str) -> None:
        {"postgres": self._postgres, "store": self._store, "bucket": self._once}.get(name, self._start)(name)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text()

    def stop(self, name: str) -> int:
        """SIGTERM, and as long as the file grants; the exit status."""
        grace = float(self.composed.services[name]["stop_grace_period"].removesuffix("s"))
        self.running[name].send_signal(signal.SIGTERM)
        return self.running[name].wait(grace)

    def _postgres(self, name: str) -> None:
        told = self.composed.service(name).environment
        password = Path(told["POSTGRES_PASSWORD_FILE"]).read_text()
        port = self.composed.port(name, POSTGRES)
        server = postgres_with_password(told["POSTGRES_USER"], password, told["POSTGRES_DB"], port)
        self.stack.enter_context(server)
        service = self.composed.service(name)
        service.environment |= {"PGHOST": "127.0.0.1", "PGPORT": str(port)}
        assert service.healthy()

    def _store(self, name: str) -> None:
        address = self.stack.enter_context(empty_s3())
        self.composed.places[name, STORE] = int(address.rpartition(":")[2])
        told = self.composed.service(name).environment
        root = [Path(told[f"MINIO_ROOT_{part}_FILE"]).read_text() for part in ("USER", "PASSWORD")]
        (self.folder / "bin").mkdir()
        (self.folder / "bin" / "root").write_text(" ".join(root))
        (self.folder / "bin" / "mc.py").write_text(MC)
        client = self.folder / "bin" / "mc"
        client.write_text(f'#!/bin/sh\nexec {sys.executable} {client}.py "$@"\n')
        client.chmod(0o755)
        self.composed.base["PATH"] = f"{client.parent}:{self.composed.base['PATH']}"

    def _once(self, name: str) -> None:
        self.composed.service(name).output()

    def _start(self, name: str) -> None:
        process = self.composed.service(name).popen(self.folder / f"{name}.log")
        self.running[name] = process
        self.stack.callback(process.wait)
        self.stack.callback(process.kill)

    def await_health(self, name: str, *more: str) -> None:
        service = self.composed.service(name)
        service.health += more
        self.wait(name, service.healthy)

    def wait(self, name: str, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            assert self.running[name].poll() is None, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.5)


def first_key(service: Service) -> str:
    """By the command that the documentation names."""
    (command,) = re.findall(
        r"docker compose run --rm api (.*?) +#", (ROOT / "docs" / "deploy.md").read_text()
    )
    return service.output(*command.split()).split()[-1]


@pytest.mark.nightly
@needs_postgres
def test_what_compose_starts_works_together(tmp_path: Path) -> None:
    with ExitStack() as stack:
        composed = laid_out(tmp_path, compose())
        engine = Engine(composed, tmp_path, stack)
        for name in composed.order():
            if name == "api":
                key = first_key(composed.service(name))
            engine.up(name)
        (published,) = composed.services["api"]["ports"]
        address = f"127.0.0.1:{composed.port('api', int(published.rpartition(':')[2]))}"
        assert f"127.0.0.1:{API}" == health._ADDRESS  # where the check looks that has no other address
        engine.await_health("api", address)
        engine.await_health("worker")
        with Client(f"http://{address}", key=key) as client:
            whole_loop(client)
        in_the_places_of_the_file(composed)
        scraped(composed, key)
        # uvicorn ends as the signal would have ended it, once it has drained.
        assert [engine.stop(name) for name in ("worker", "api")] == [0, -signal.SIGTERM]


def whole_loop(client: Client) -> None:
    rows = [{"input": wave(i % 2, i), "label": f"class {i % 2}"} for i in range(16)]
    file = client.files.create(jsonl(rows), filename="s.jsonl")
    job = client.jobs.create("signal/raw", file.id, suffix="m", method="prototypes")
    assert client.jobs.wait(job.id).status == "succeeded"
    answer = client.predict("m", wave(1, 99))
    assert (answer.version, answer.data[0].label in ("class 0", "class 1")) == (1, True)


def in_the_places_of_the_file(composed: Composed) -> None:
    """Rows in PostgreSQL, files in the bucket, the store's own user, and nothing on the disk of `api`."""
    told = composed.service("api").environment
    db = Database(Path(told["DURIAN_DATABASE_FILE"]).read_text())
    with db.read() as session:
        assert list(session.scalars(select(Job.status))) == ["succeeded"]
    db.close()
    assert not list(Path(told["DURIAN_DATA"]).rglob("durian.sqlite"))
    bucket = told["DURIAN_STORE"].partition("://")[2]
    assert "<Key>artefacts/" in httpx.get(f"{told['DURIAN_STORE_ENDPOINT']}/{bucket}").text
    root = composed.service("store").environment
    for ours, its in (
        ("DURIAN_STORE_KEY", "MINIO_ROOT_USER"),
        ("DURIAN_STORE_SECRET", "MINIO_ROOT_PASSWORD"),
    ):
        assert Path(told[f"{ours}_FILE"]).read_text() == Path(root[f"{its}_FILE"]).read_text()


def scraped(composed: Composed, key: str) -> None:
    """Follow the configuration to the metrics, as Prometheus does."""
    place = "/etc/prometheus/prometheus.yml"
    config = yaml.safe_load(composed.mounted("prometheus", place).read_text())
    for rules in config["rule_files"]:
        assert yaml.safe_load(composed.mounted("prometheus", f"/etc/prometheus/{rules}").read_text())[
            "groups"
        ]
    composed.secret("prometheus", config["scrape_configs"][0]["authorization"]["credentials_file"])
    for scrape in config["scrape_configs"]:
        for target in scrape["static_configs"][0]["targets"]:
            name, port = target.split(":")
            url = f"http://127.0.0.1:{composed.port(name, int(port))}{scrape.get('metrics_path', '/metrics')}"
            assert httpx.get(url).status_code == 401
            answer = httpx.get(url, headers={"authorization": f"Bearer {key}"})
            assert 'durian_jobs{status="succeeded"} 1.0' in answer.text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool")
def test_promtool_reads_the_configuration(tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yml"):
        text = (ROOT / "deploy" / name).read_text().replace("/run/secrets", str(tmp_path))
        (tmp_path / name).write_text(text)
    (tmp_path / "metrics_key").write_text("a key")
    done = subprocess.run(
        ["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def mistakes() -> Iterator[tuple[str, Callable[[dict[str, Any]], object]]]:
    yield "no_secret", lambda services: services["api"]["secrets"].remove("database_url")
    yield "no_volume", lambda services: services["worker"].update(volumes=[])
    yield "other_host", lambda services: told(services).update(DURIAN_STORE_ENDPOINT="http://minio:9000")
    yield "other_port", lambda services: told(services).update(DURIAN_STORE_ENDPOINT="http://store:9001")
    yield "other_secret", lambda services: told(services).update(DURIAN_PEPPER="/run/secrets/papper")
    yield "no_target", lambda services: services["worker"]["build"].update(target="work")
    yield "a_circle", lambda services: services["store"].update(depends_on={"api": {}})


def told(services: dict[str, Any]) -> dict[str, str]:
    environment: dict[str, str] = services["api"]["environment"]
    return environment


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in mistakes()])
def test_mistakes_in_the_file_are_found(change: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    spec = copy.deepcopy(compose())
    change(spec["services"])
    composed = laid_out(tmp_path, spec)
    composed.places["store", STORE] = 1
    with pytest.raises(Mistake):
        composed.check()
