"""One container of an image, run by buildah: started, asked for its health, stopped as an engine stops it."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

from tests.benchmarks.registry import Broken
from tests.image.buildah import Buildah

USER = 10_001
START_SECONDS = 180.0
DRAIN_SECONDS = 30.0


class Part:
    """A container with the volume that its image declares; `settings` are its variables."""

    def __init__(self, buildah: Buildah, container: str, log: Path, settings: Mapping[str, str]) -> None:
        self.buildah = buildah
        self.container = container
        self._log = log
        socket_folder = settings["DURIAN_DATABASE"].partition("host=")[2].replace("%2F", "/")
        shared = (socket_folder, settings["DURIAN_PEPPER"])
        self._options = [f"--volume={path}:{path}" for path in shared]
        self._options += [f"--env={name}={value}" for name, value in settings.items()]
        self._process: subprocess.Popen[bytes] | None = None
        self._first = time.time()

    def do(self, *command: str) -> str:
        """Run a command to its end."""
        return self.buildah("run", *self._options, self.container, "--", *command)

    def start(self, ready: Callable[[], bool], *command: str) -> float:
        """Seconds until it is ready. Raises Broken."""
        began = time.monotonic()
        argv = ("run", *self._options, self.container, "--", *command)
        self._process = self.buildah.popen(*argv, log=self._log)
        while not ready():
            late = time.monotonic() - began > START_SECONDS
            if late or self._process.poll() is not None:
                raise Broken(f"{' '.join(command)} is not ready.")
            time.sleep(0.05)
        return time.monotonic() - began

    def stop(self) -> float:
        """SIGTERM to the container's program, as an engine sends it; seconds until it has ended."""
        assert self._process is not None
        if self._process.poll() is not None:
            return 0.0
        began = time.monotonic()
        self._program().send_signal(signal.SIGTERM)
        self._process.wait(DRAIN_SECONDS)
        return time.monotonic() - began

    def told(self) -> str:
        """The end of its log."""
        return self._log.read_text()[-4000:] if self._log.exists() else ""

    def sees(self, path: str) -> bool:
        """Whether the running program has a file there."""
        try:
            return Path(f"/proc/{self._program().pid}/root{path}").exists()
        except (LookupError, psutil.Error):
            return False

    def written(self) -> list[str]:
        """Files of the root file system, but for /tmp, that are younger than the start."""
        with self.buildah.mounted(self.container) as root:
            tops = ("opt", "usr", "etc", "home", "var", "root")
            found = (path for top in tops for path in (root / top).rglob("*"))
            young = (path for path in found if path.is_file() and not path.is_symlink())
            return [str(p.relative_to(root)) for p in young if p.stat().st_mtime > self._first + 1]

    def _program(self) -> psutil.Process:
        """What the image starts: the first process below buildah's own. Raises LookupError before it runs."""
        assert self._process is not None
        for one in psutil.Process(self._process.pid).children(recursive=True):
            if "buildah" not in one.name() and one.uids().real == USER:
                return one
        raise LookupError(self.container)
