"""`make image-test`: builds the images, starts both with PostgreSQL and a bucket, runs the demo on them.

Needs root and Debian's packages buildah, debootstrap and postgresql. Takes minutes and some 20 GB of disk.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psutil

from app.client import Client
from tests.buckets import s3, settings_of
from tests.image.buildah import Buildah, missing, size
from tests.postgres import new_database, postgres
from tests.support import jsonl
from tests.support import signal as wave

ROOT = Path(__file__).resolve().parents[2]
USER = 10_001
START_SECONDS = 180.0
DRAIN_SECONDS = 30.0
MOST_API_BYTES = 1_200_000_000


def main() -> None:
    given = _arguments()
    if lacking := missing():
        sys.exit(f"not here: {', '.join(lacking)}; see this file's head")
    given.store.mkdir(parents=True, exist_ok=True)
    buildah = Buildah(given.store, given.storage_driver)
    buildah.make_base()
    images = {target: buildah.build(target, given.variant, ROOT) for target in ("api", "worker")}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="durian-image-")))
        folder.chmod(0o755)
        containers = {name: stack.enter_context(buildah.container(image)) for name, image in images.items()}
        _sizes(buildah, containers, given.variant)
        settings = stack.enter_context(_surroundings(folder))
        parts = {
            name: Part(buildah, container, folder / name, settings) for name, container in containers.items()
        }
        _run(parts, stack)
        for name, part in parts.items():
            assert (left := part.written()) == [], f"{name} wrote outside its volume: {left}"
    print("the images do what they should")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, default=Path("/var/tmp/durian-images"))
    parser.add_argument("--storage-driver", default="vfs", help="overlay is faster where it works")
    parser.add_argument("--variant", default="cpu")
    return parser.parse_args()


def _sizes(buildah: Buildah, containers: Mapping[str, str], variant: str) -> None:
    for name, container in containers.items():
        with buildah.mounted(container) as root:
            total = size(root)
            print(f"{name}: {total / 1e6:,.0f} MB with its base")
            assert any(root.glob("opt/durian/lib/python3*/site-packages/torch")) == (name == "worker")
            if (name, variant) == ("api", "cpu"):
                assert total <= MOST_API_BYTES


@contextmanager
def _surroundings(folder: Path) -> Iterator[dict[str, str]]:
    """PostgreSQL, a bucket and the pepper: what both containers are told."""
    with postgres() as (server, place), s3() as address:
        place.chmod(0o755)
        pepper = folder / "pepper"
        pepper.write_text("of the test")
        pepper.chmod(0o444)
        told = {
            "database": new_database(server),
            **settings_of(address),
            "auth": "keys",
            "pepper": str(pepper),
        }
        yield {f"DURIAN_{name.upper()}": value for name, value in told.items()}


class Part:
    """One container, with a volume of its own."""

    def __init__(self, buildah: Buildah, container: str, folder: Path, settings: Mapping[str, str]) -> None:
        self.buildah = buildah
        self.container = container
        self.log = folder.with_suffix(".log")
        folder.mkdir()
        os.chown(folder, USER, USER)
        socket_folder = settings["DURIAN_DATABASE"].partition("host=")[2].replace("%2F", "/")
        shared = (socket_folder, settings["DURIAN_PEPPER"])
        self._options = [f"--volume={folder}:/data", *(f"--volume={path}:{path}" for path in shared)]
        self._options += [f"--env={name}={value}" for name, value in settings.items()]
        self.process: subprocess.Popen[bytes] | None = None
        self._started = time.time()

    def do(self, *command: str) -> str:
        """Run a command to its end."""
        return self.buildah("run", *self._options, self.container, "--", *command)

    def start(self, *command: str) -> None:
        self._started = time.time()
        self.process = self.buildah.popen("run", *self._options, self.container, "--", *command, log=self.log)

    def stop(self) -> float:
        """SIGTERM to the container's program, as an engine sends it; seconds until it has ended."""
        assert self.process is not None
        if self.process.poll() is not None:
            return 0.0
        family = psutil.Process(self.process.pid).children(recursive=True)
        (program, *_) = [one for one in family if one.uids().real == USER]
        began = time.monotonic()
        program.send_signal(signal.SIGTERM)
        self.process.wait(DRAIN_SECONDS)
        return time.monotonic() - began

    def written(self) -> list[str]:
        """Files of the root file system, but for /tmp, that are younger than the start."""
        with self.buildah.mounted(self.container) as root:
            found = (
                path
                for top in ("opt", "usr", "etc", "home", "var", "root")
                for path in (root / top).rglob("*")
            )
            young = (path for path in found if path.is_file() and not path.is_symlink())
            return [str(p.relative_to(root)) for p in young if p.stat().st_mtime > self._started + 1]


def _run(parts: Mapping[str, Part], stack: ExitStack) -> None:
    api, worker = parts["api"], parts["worker"]
    key = api.do("durian", "keys", "create", "--tenant", "default", "--role", "admin").split()[-1]
    assert key.startswith("dk_"), key
    url = f"http://127.0.0.1:{_port()}"
    for part in parts.values():
        stack.callback(part.stop)
    api.start("durian", "serve", "--host", "127.0.0.1", "--port", url.rpartition(":")[2], "--no-worker")
    _until(lambda: _ready(url), api, "api ready")
    api.do("python", "-m", "app.health", "api", url.partition("//")[2])
    worker.start("durian", "worker")
    _until(lambda: (worker.log.with_suffix("") / "worker.beat").exists(), worker, "worker at work")
    worker.do("python", "-m", "app.health", "worker")
    environment = {**os.environ, "DURIAN_API_KEY": key}
    subprocess.run([sys.executable, "-m", "app", "demo", "--url", url], check=True, cwd=ROOT, env=environment)
    with Client(url, key=key) as client:
        _train_with_torch(client)
    for name, part in parts.items():
        print(f"{name}: drained {part.stop():.1f} s after SIGTERM")


def _train_with_torch(client: Client) -> None:
    """The service has no torch; it offers what its worker has."""
    rows = [{"input": wave(i % 2, i), "label": f"class {i % 2}"} for i in range(24)]
    file = client.files.create(jsonl(rows), filename="s.jsonl")
    job = client.jobs.create("signal/durian-small", file.id, suffix="deep", method="finetune")
    job = client.jobs.wait(job.id)
    assert job.status == "succeeded", job
    print("a method that needs torch was offered and trained")


def _until(condition: Callable[[], bool], part: Part, what: str) -> None:
    began = time.monotonic()
    while not condition():
        late = time.monotonic() - began > START_SECONDS
        if late or part.process is None or part.process.poll() is not None:
            sys.exit(f"not {what}; its log:\n{part.log.read_text()}")
        time.sleep(0.05)
    print(f"{what} {time.monotonic() - began:.1f} s after its start")


def _ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
