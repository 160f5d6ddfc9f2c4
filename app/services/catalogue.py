"""What is served, in memory: tenant -> model name -> versions and aliases.

Readers take no lock. Each model is one immutable `Entry`; a change replaces the entry in one assignment,
so a reader sees the model before the change or after it, and a request that has its version keeps it.
Versions load on first use, and may be unloaded later: a thousand unused models are a thousand small records.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from app.engine.memory import Memory, Slot
from app.engine.model import LoadedModel
from app.engine.stats import Stats
from models.errors import Conflict, NotFound

LIVE = "live"
Load = Callable[[], LoadedModel]


class Reference(NamedTuple):
    """`name`, `name:3` or `name@alias`; a bare name means the alias `live`."""

    name: str
    version: int | None = None
    alias: str | None = None

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Raises NotFound for what cannot name a model."""
        name, colon, version = text.partition(":")
        if colon:
            return cls(name, version=version_number(version))
        name, at, alias = text.partition("@")
        return cls(name, alias=alias if at else None)

    @property
    def bare(self) -> bool:
        return self.version is None and self.alias is None


def version_number(text: str) -> int:
    """A version as it stands in a reference or a path. Raises NotFound."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise _no_version()
    return int(text)


class ServedVersion:
    """One version of a model, loaded by the first who asks, and again after it had to make room.

    A failed load may be tried again. `stats` are its counters since it was first loaded, None before.
    """

    __slots__ = ("_load", "_lock", "_slot", "number", "stats")

    def __init__(self, number: int, load: Load, slot: Slot[LoadedModel]) -> None:
        self.number = number
        self.stats: Stats | None = None
        self._load = load
        self._slot = slot
        self._lock = threading.Lock()

    @property
    def loaded(self) -> LoadedModel | None:
        """The model, if it is in memory; asking counts as use."""
        return self._slot.get()

    def model(self) -> LoadedModel:
        """The model, loaded now if need be (for a thread that may wait). Raises CorruptArtefact."""
        with self._lock:
            model = self._slot.get()
            if model is None:
                model = self._with_stats(self._load())
                self._slot.put(model)
            return model

    def _with_stats(self, model: LoadedModel) -> LoadedModel:
        """One that comes back goes on with the counters it left."""
        if self.stats is None:
            self.stats = model.stats
        return replace(model, stats=self.stats)


@dataclass(frozen=True)
class Entry:
    """One model: its versions by number, and its aliases, at one moment. `created` is in Unix seconds."""

    name: str
    created: float
    versions: Mapping[int, ServedVersion] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)

    def pick(self, ref: Reference) -> ServedVersion:
        """The version `ref` means. Raises NotFound."""
        alias = LIVE if ref.alias is None else ref.alias
        number = self.aliases.get(alias) if ref.version is None else ref.version
        version = None if number is None else self.versions.get(number)
        if version is None:
            raise _no_version()
        return version


class Catalogue:
    """Thread-safe. Writers take turns; readers never wait. Loaded models live in `memory`."""

    def __init__(self, memory: Memory | None = None) -> None:
        self._memory = memory or Memory()
        self._tenants: dict[str, dict[str, Entry]] = {}
        self._writing = threading.Lock()

    def entry(self, tenant: str, name: str) -> Entry:
        """One model as it is now. Raises NotFound."""
        entry = self._tenants.get(tenant, {}).get(name)
        if entry is None:
            raise _no_model()
        return entry

    def find(self, tenant: str, ref: str, version: int | None = None) -> ServedVersion:
        """The version that `ref` means, loaded or not; `version` is the one asked for besides `ref`.

        Raises NotFound when there is none, or when `ref` and `version` both name one and differ.
        """
        wanted = Reference.parse(ref)
        found = self.entry(tenant, wanted.name)
        if version is None:
            return found.pick(wanted)
        if not wanted.bare and found.pick(wanted).number != version:
            raise _no_version()
        return found.pick(Reference(wanted.name, version=version))

    def resolve(self, tenant: str, ref: str, version: int | None = None) -> LoadedModel:
        """The loaded model that `ref` means, for a thread that may wait. Raises NotFound, CorruptArtefact."""
        return self.find(tenant, ref, version).model()

    def snapshot(self, tenant: str) -> Mapping[str, Entry]:
        """Every model of a tenant, by name; later changes do not show in it."""
        with self._writing:
            return dict(self._tenants.get(tenant, {}))

    def put_version(self, tenant: str, name: str, version: int, load: Load, *, created: float = 0.0) -> None:
        """Add a version, making the model if it is new. A version that is there already stays."""
        with self._writing:
            models = self._tenants.setdefault(tenant, {})
            entry = models.get(name) or Entry(name, created)
            if version not in entry.versions:
                served = ServedVersion(version, load, self._memory.slot("head"))
                models[name] = replace(entry, versions={**entry.versions, version: served})

    def set_alias(self, tenant: str, name: str, alias: str, version: int) -> None:
        """Point an alias at a version. Raises NotFound."""
        with self._writing:
            entry = self.entry(tenant, name)
            if version not in entry.versions:
                raise _no_version()
            self._tenants[tenant][name] = replace(entry, aliases={**entry.aliases, alias: version})

    def drop_alias(self, tenant: str, name: str, alias: str) -> None:
        """Forget an alias. Raises NotFound."""
        with self._writing:
            entry = self.entry(tenant, name)
            if alias not in entry.aliases:
                raise NotFound("This model has no such alias.", param="alias")
            aliases = {key: number for key, number in entry.aliases.items() if key != alias}
            self._tenants[tenant][name] = replace(entry, aliases=aliases)

    def remove_version(self, tenant: str, name: str, version: int) -> None:
        """Stop serving a version. Raises NotFound; Conflict while an alias points at it."""
        with self._writing:
            entry = self.entry(tenant, name)
            if version not in entry.versions:
                raise _no_version()
            if version in entry.aliases.values():
                raise Conflict("An alias points at this version; move it first.", code="version_in_use")
            versions = {number: kept for number, kept in entry.versions.items() if number != version}
            self._tenants[tenant][name] = replace(entry, versions=versions)

    def remove_model(self, tenant: str, name: str) -> None:
        """Stop serving a model. Raises NotFound."""
        with self._writing:
            self.entry(tenant, name)
            del self._tenants[tenant][name]


def _no_model() -> NotFound:
    return NotFound("No such model.", param="model")


def _no_version() -> NotFound:
    return NotFound("This model has no such version or alias.", param="model")
