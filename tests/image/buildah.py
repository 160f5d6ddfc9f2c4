"""Images without a Docker engine: `buildah` builds and runs them in a chroot, on this machine's network.

It has no read-only root file system and drops no capabilities; that nothing is written outside the volume is
looked up afterwards. Everything is kept in DURIAN_IMAGE_STORE, so that only what has changed is built again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

BASE = "localhost/python:3.11-slim-bookworm"
PACKAGES = "ca-certificates,python3,python3-venv,python3-distutils"
# What the builder may need of this machine to reach package registries: certificates, pip's settings.
HOST_FILES = ("/etc/ssl/certs", "/etc/pip.conf")
_STORE = Path("/var/tmp/durian-images")


class Buildah:
    """Everything lies in `store`."""

    def __init__(self, store: Path, driver: str) -> None:
        self.store = store
        places = ["--root", str(store / "root"), "--runroot", str(store / "run")]
        self._program = ["buildah", *places, "--storage-driver", driver]

    def __call__(self, *arguments: str | Path) -> str:
        command = [*self._program, *map(str, arguments)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=_environment())
        return done.stdout.strip()

    def popen(self, *arguments: str | Path, log: Path) -> subprocess.Popen[bytes]:
        with log.open("wb") as out:
            return subprocess.Popen(
                [*self._program, *map(str, arguments)], stdout=out, stderr=out, env=_environment()
            )

    def has(self, image: str) -> bool:
        found = json.loads(self("images", "--json") or "[]") or []
        return any(name.endswith(image) for one in found for name in one.get("names") or ())

    def make_base(self) -> None:
        """Debian with its Python, under the base's name: once."""
        if self.has(BASE):
            return
        _say("making the base with debootstrap")
        with tempfile.TemporaryDirectory(dir=self.store) as folder:
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", folder],
                stdout=subprocess.DEVNULL,
                check=True,
            )
            container = self("from", "scratch")
            self("add", "-q", container, folder, "/")
            self("commit", "-q", "--rm", container, BASE)

    def build(self, target: str, variant: str, context: Path) -> str:
        """The image's name."""
        name = f"durian-{target}:{variant}"
        _say(f"building {name}")
        volumes = [f"--volume={path}:{path}:ro" for path in HOST_FILES if Path(path).exists()]
        self(
            "bud", "-q", "--layers", "--format=docker", "--pull-never", *volumes,
            f"--build-arg=BASE={BASE}", f"--build-arg=VARIANT={variant}",
            f"--target={target}", f"--tag={name}", context,
        )  # fmt: skip
        return name

    @contextmanager
    def container(self, image: str) -> Iterator[str]:
        name = self("from", "--pull-never", image)
        try:
            yield name
        finally:
            self("rm", name)

    @contextmanager
    def mounted(self, container: str) -> Iterator[Path]:
        path = Path(self("mount", container))
        try:
            yield path
        finally:
            self("umount", container)


def here() -> Buildah:
    """Images in DURIAN_IMAGE_STORE; by overlay mounts where the kernel has them there, else by copies."""
    store = Path(os.environ.get("DURIAN_IMAGE_STORE", _STORE))
    store.mkdir(parents=True, exist_ok=True)
    return Buildah(store, "overlay" if _overlays(store) else "vfs")


def _overlays(store: Path) -> bool:
    with tempfile.TemporaryDirectory(dir=store) as folder:
        places = ["--root", f"{folder}/root", "--runroot", f"{folder}/run"]
        command = ["buildah", *places, "--storage-driver", "overlay", "info"]
        return subprocess.run(command, capture_output=True).returncode == 0


def size(folder: Path) -> int:
    """Bytes of all files below, hard links counted once."""
    told = subprocess.run(["du", "-sxB1", folder], stdout=subprocess.PIPE, text=True, check=True)
    return int(told.stdout.split()[0])


def missing(programs: Sequence[str] = ("buildah", "debootstrap", "initdb")) -> list[str]:
    return [program for program in programs if shutil.which(program) is None]


def _environment() -> dict[str, str]:
    return {**os.environ, "BUILDAH_ISOLATION": "chroot"}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
