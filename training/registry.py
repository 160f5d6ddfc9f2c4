"""Names of things that register themselves when their module is imported: found by lying in a package."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """Imports every module of `package` on first look, not before: those modules import this one's users."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._known: dict[str, T] = {}
        self._complete = False

    def add(self, name: str, thing: T) -> None:
        """Raises ValueError when the name is taken."""
        if name in self._known:
            raise ValueError(f"There is already one called {name}.")
        self._known[name] = thing

    def load(self) -> None:
        """Import what has not been imported yet."""
        if not self._complete:
            self._complete = True
            path = importlib.import_module(self._package).__path__
            for module in pkgutil.iter_modules(path):
                importlib.import_module(f"{self._package}.{module.name}")

    def __getitem__(self, name: str) -> T:
        self.load()
        return self._known[name]

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(self._known)

    def __len__(self) -> int:
        self.load()
        return len(self._known)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other}
