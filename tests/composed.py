"""docker-compose.yml without Docker: its services as processes here, told what the file tells them.

Commands, variables, secrets, volumes, order and health checks are those of docker-compose.yml and of the
Dockerfile. What an engine adds is put in their place: a path of a container becomes the folder that stands
for it, the name of a service and its port the address where that listens here. A name, port, secret or path
that the file does not give to a service is a `Mistake`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SECRETS = "/run/secrets"
_PORTS = {"http": 80, "postgresql": 5432}
_ADDRESS = re.compile(r"(?P<scheme>\w+)://(?P<user>[^/@\s\"]*@)?(?P<host>[\w.-]+)(?::(?P<port>\d+))?")
_OWN = {"durian": [sys.executable, "-m", "app"], "python": [sys.executable]}
_PROVIDED = {"PATH", "HOME", "DURIAN_EMBEDDED_BACKBONES"}
"""Variables of the image that say where it has what this machine has elsewhere."""


class Mistake(AssertionError):
    """Something in the file that an engine, or the program in the container, would stumble over."""


@dataclass
class Image:
    """What a stage of the Dockerfile, with those it stands on, says of its containers."""

    env: dict[str, str] = field(default_factory=dict)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)


def image(target: str, dockerfile: str) -> Image:
    """Raises Mistake where there is no such stage."""
    found = Image()
    for stage in reversed(list(_stages(target, dockerfile))):
        for word, rest in stage:
            if word == "ENV":
                found.env |= dict(pair.split("=", 1) for pair in shlex.split(rest))
            elif word == "ENTRYPOINT":
                found.entrypoint = json.loads(rest)
            elif word == "CMD":
                found.command = json.loads(rest)
            elif word == "HEALTHCHECK":
                found.health = json.loads(rest.partition("CMD")[2])
    return found


def _stages(target: str, dockerfile: str) -> Iterator[list[tuple[str, str]]]:
    """The instructions of a stage, then of the one it is FROM, and so on."""
    stages: dict[str, list[tuple[str, str]]] = {}
    parents: dict[str, str] = {}
    lines = re.sub(r"^#.*\n", "", dockerfile, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    for line in filter(None, map(str.strip, lines)):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            parent, _, name = rest.split()
            parents[name], current = parent, stages.setdefault(name, [])
        elif stages:
            current.append((word, rest))
    if target not in stages:
        raise Mistake(f"the Dockerfile has no target {target}")
    while target in stages:
        yield stages[target]
        target = parents[target]


@dataclass
class Service:
    """What one service of the file is started with."""

    name: str
    entrypoint: list[str]
    command: list[str]
    environment: dict[str, str]
    health: list[str]

    def popen(self, log: Path, *command: str) -> subprocess.Popen[bytes]:
        """The service, or another command of its image in its surroundings."""
        with log.open("ab") as out:
            argv = [*self.entrypoint, *(command or self.command)]
            return subprocess.Popen(argv, env=self.environment, stdout=out, stderr=out)

    def output(self, *command: str) -> str:
        """Of a command to its end, as `docker compose run` prints it."""
        argv = [*self.entrypoint, *(command or self.command)]
        return subprocess.run(
            argv, env=self.environment, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def healthy(self) -> bool:
        return subprocess.run(self.health, env=self.environment, capture_output=True).returncode == 0


class Composed:
    """The file `spec`, laid out in `folder`. `places` is filled with where services listen here."""

    def __init__(self, spec: Mapping[str, Any], folder: Path, root: Path = ROOT) -> None:
        self.services: dict[str, dict[str, Any]] = dict(spec["services"])
        self._secrets: dict[str, dict[str, str]] = dict(spec["secrets"])
        self._volumes = set(spec["volumes"])
        self._folder = folder
        self._root = root
        self._dockerfile = (root / "Dockerfile").read_text()
        self.places: dict[tuple[str, int], int] = {}
        """Service and its port in the file, to the port here."""
        self.base = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        self.base |= {"PYTHONPATH": str(root)}

    def order(self) -> list[str]:
        """Services without a profile, each behind those it waits for. Raises Mistake for a circle."""
        left = {name for name, one in self.services.items() if "profiles" not in one}
        found: list[str] = []
        while left:
            ready = sorted(n for n in left if set(self.services[n].get("depends_on", ())) <= set(found))
            if not ready:
                raise Mistake(f"these wait for each other, or for what does not start: {sorted(left)}")
            found += ready
            left -= set(ready)
        return found

    def check(self) -> None:
        """Raises Mistake for anything that is found without starting a service."""
        for name in self.order():
            self.service(name)

    def service(self, name: str) -> Service:
        """Raises Mistake."""
        given = self.services[name]
        built = image(given["build"]["target"], self._dockerfile) if "build" in given else Image()
        entrypoint = given.get("entrypoint", built.entrypoint)
        command = given.get("command", built.command)
        health = given["healthcheck"]["test"][1:] if "healthcheck" in given else built.health
        environment = {k: v for k, v in built.env.items() if k not in _PROVIDED} | given.get(
            "environment", {}
        )
        return Service(
            name,
            _here([self.translated(name, word) for word in entrypoint]),
            [self._argument(name, command, i) for i in range(len(command))],
            self.base | {key: self._value(name, key, value) for key, value in environment.items()},
            _here(health),
        )

    def secret(self, name: str, path: str) -> str:
        """What a service reads at a path of its container. Raises Mistake where nothing is there."""
        found = Path(self.translated(name, path))
        if not found.is_file():
            raise Mistake(f"{name} has no {path}")
        return found.read_text()

    def mounted(self, name: str, path: str) -> Path:
        """The file of this project that a service has at a path. Raises Mistake."""
        for volume in self.services[name].get("volumes", ()):
            source, target, *_ = volume.split(":")
            if target == path and source.startswith("."):
                return self._root / source
        raise Mistake(f"{name} has nothing at {path}")

    def translated(self, name: str, text: str) -> str:
        """Text of a service's container with secrets, volumes and addresses as they are here."""
        for volume in self.services[name].get("volumes", ()):
            source, target, *_ = volume.split(":")
            if source in self._volumes and text == target:
                return str(_made(self._folder / "volumes" / source))
        text = text.replace("$$", "$").replace(SECRETS, str(self._given(name)))
        return self._addressed(text)

    def port(self, name: str, port: int) -> int:
        """Where that port of a service is here. Raises Mistake."""
        if (name, port) not in self.places:
            raise Mistake(f"no service {name} listens on {port}")
        return self.places[name, port]

    def _value(self, name: str, key: str, value: str) -> str:
        found = self.translated(name, value)
        if found == value and value.startswith("/"):
            raise Mistake(f"{name} has {key}={value}, which is no volume of it")
        if value.startswith(SECRETS):
            self.secret(name, value)
        return found

    def _argument(self, name: str, command: Sequence[str], i: int) -> str:
        if i and command[i - 1] == "--port":
            return str(self.port(name, int(command[i])))
        return self.translated(name, command[i])

    def _given(self, name: str) -> Path:
        """A folder of the secrets that a service is given."""
        folder = _made(self._folder / "secrets" / name)
        for secret in self.services[name].get("secrets", ()):
            if secret not in self._secrets:
                raise Mistake(f"{name} is given {secret}, which is not declared")
            text = (self._folder / self._secrets[secret]["file"]).read_text()
            (folder / secret).write_text(self._addressed(text))
        return folder

    def _addressed(self, text: str) -> str:
        def here(found: re.Match[str]) -> str:
            scheme, user, host = found["scheme"], found["user"] or "", found["host"]
            if scheme not in _PORTS or host.replace(".", "").isdigit():
                return found[0]
            port = self.port(host, int(found["port"] or _PORTS[scheme]))
            return f"{scheme}://{user}127.0.0.1:{port}"

        return _ADDRESS.sub(here, text)


def compose() -> dict[str, Any]:
    """The file."""
    spec: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return spec


def _here(argv: list[str]) -> list[str]:
    return [*_OWN.get(argv[0], argv[:1]), *argv[1:]] if argv else []


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
