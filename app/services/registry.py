"""Keeps the catalogue in step with the database: after every change here, and twice a second for others'.

Every change has a number, and a model bears that of its last one (migration 0005), so only models that have
changed since the last look are read. Writers take turns (ADR 0017), so numbers become visible in order.
Everything is read at the start, after a model was deleted, and where the numbers have gone back.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import cast

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.news import News
from app.db.tables import Alias, Change, Model, Version
from app.engine.model import LoadedModel
from app.services.artefacts import Artefacts
from app.services.catalogue import Catalogue
from models.errors import CorruptArtefact, DurianError
from models.manifest import HEAD
from models.novelty import NOVELTY

Opener = Callable[[str, str, int, str], LoadedModel]
"""Tenant, model name, version and artefact digest to the model. Raises CorruptArtefact."""

_WATCH_SECONDS = 0.5
log = logging.getLogger(__name__)


@dataclass
class _Model:
    """A model as the database has it: version -> artefact digest, alias -> version.

    `held`: an alias stays where it was, for the version that it should point at cannot be loaded.
    """

    tenant: str
    name: str
    created: float
    versions: dict[int, str] = field(default_factory=dict)
    aliases: dict[str, int] = field(default_factory=dict)
    held: bool = False


class Registry:
    """`open_version` loads a version when it is first asked for; `applied` is told of every new state."""

    def __init__(
        self,
        db: Database,
        catalogue: Catalogue,
        open_version: Opener,
        applied: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.db = db
        self.catalogue = catalogue
        self.change = -1
        """The number of the last change that the catalogue shows."""
        self._open = open_version
        self._told = applied
        self._corrupt: set[str] = set()
        self._held: set[str] = set()
        self._applied: dict[str, _Model] = {}
        self._news = News(db)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="registry-watch", daemon=True)

    def start(self) -> None:
        """Load what is published and watch for changes that other processes make."""
        self.refresh()
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._news.close()

    def refresh(self) -> None:
        """Bring the catalogue up to the database, if anything has changed."""
        with self._lock:
            if self._news.come() or self._held:
                self._look()
                self._news.heard()

    def _look(self) -> None:
        with self.db.read() as session:
            change, whole = _numbers(session)
            if change == self.change and not self._held:
                return
            if whole <= self.change <= change:
                self._apply(_read(session, since=self.change, held=self._held))
            else:
                found = _read(session)
                self._forget(self._applied.keys() - found.keys())
                self._apply(found)
            self.change = change
            self._told(change)

    def _watch(self) -> None:
        while not self._stop.wait(_WATCH_SECONDS):
            try:
                self.refresh()
            except DurianError as error:
                # What is in memory goes on serving while the database is away.
                log.warning("changes of models cannot be read: %s", error.code)

    def _apply(self, found: Mapping[str, _Model]) -> None:
        """Show models as they were read; where one fails, the next look reads it again."""
        for model_id, model in found.items():
            if not model.versions:
                self._forget({model_id} & self._applied.keys())
                continue
            before = self._applied.get(model_id) or _Model(model.tenant, model.name, model.created)
            self._apply_model(before, model)
            self._applied[model_id] = model
            (self._held.add if model.held else self._held.discard)(model_id)
        if self._corrupt:
            known = (model.versions.values() for model in self._applied.values())
            self._corrupt &= set(chain.from_iterable(known))

    def _forget(self, model_ids: Collection[str]) -> None:
        for model_id in model_ids:
            gone = self._applied.pop(model_id)
            self._held.discard(model_id)
            self.catalogue.remove_model(gone.tenant, gone.name)

    def _apply_model(self, before: _Model, model: _Model) -> None:
        key = (model.tenant, model.name)
        for number, artefact in model.versions.items():
            if number not in before.versions:
                load = partial(self._load, *key, number, artefact)
                self.catalogue.put_version(*key, number, load, created=model.created)
        for alias, number in model.aliases.items():
            if before.aliases.get(alias) != number:
                self._move(key, model, alias, number, before.aliases.get(alias))
        for alias in before.aliases.keys() - model.aliases.keys():
            self.catalogue.drop_alias(*key, alias)
        for number in before.versions.keys() - model.versions.keys() - set(model.aliases.values()):
            self.catalogue.remove_version(*key, number)

    def _move(self, key: tuple[str, str], model: _Model, alias: str, number: int, old: int | None) -> None:
        """Point an alias at a version that loads; at one that does not, it is left where it was."""
        try:
            if old is not None:  # else nothing is served yet that could go on
                self.catalogue.entry(*key).versions[number].model()
        except CorruptArtefact as error:
            log.error("version %d of %s cannot be served: %s; %s stays", number, key[1], error.code, alias)
            model.aliases[alias] = cast(int, old)
            model.held = True
            return
        self.catalogue.set_alias(*key, alias, number)

    def _load(self, tenant: str, name: str, number: int, digest: str) -> LoadedModel:
        try:
            model = self._open(tenant, name, number, digest)
        except CorruptArtefact:
            self._corrupt.add(digest)
            raise
        self._corrupt.discard(digest)
        return model

    def degraded(self) -> list[str]:
        """Reasons, for `/v2/health/ready`."""
        return ["artefact_corrupt"] if self._corrupt else []


def open_here(
    artefacts: Artefacts, providers: Sequence[str], tenant: str, name: str, number: int, digest: str
) -> LoadedModel:
    """An `Opener` that loads the artefact into this process, a tail onto `providers`."""
    manifest, files = artefacts.load(digest)
    model = LoadedModel.load(manifest, number, files[HEAD], providers, novelty=files.get(NOVELTY))
    return replace(model, tenant=tenant, name=name)


def _numbers(session: Session) -> tuple[int, int]:
    """The last change, and the last that only a whole reading shows."""
    row = session.execute(_NUMBERS).first()
    return (0, 0) if row is None else (row.n, row.whole)


def _read(session: Session, *, since: int | None = None, held: Collection[str] = ()) -> dict[str, _Model]:
    """Every model, or those that changed after `since` and the `held` ones.

    Plain rows: as objects, they take thrice the time.
    """
    models, versions, aliases = _WHOLE if since is None else _CHANGED
    some = {} if since is None else {"since": since, "held": list(held)}
    found = {id: _Model(tenant, name, at) for id, tenant, name, at in session.execute(models, some)}
    for model_id, number, artefact in session.execute(versions, some):
        found[model_id].versions[number] = artefact
    for model_id, alias, number in session.execute(aliases, some):
        found[model_id].aliases[alias] = number
    return found


_NUMBERS = select(Change.n, Change.whole)
_WHOLE = (
    select(Model.id, Model.tenant, Model.name, Model.created_at),
    select(Version.model_id, Version.version, Version.artefact),
    select(Alias.model_id, Alias.alias, Alias.version),
)
_WANTED = or_(Model.changed > bindparam("since"), Model.id.in_(bindparam("held", expanding=True)))
_CHANGED = (
    _WHOLE[0].where(_WANTED),
    _WHOLE[1].join(Model, Model.id == Version.model_id).where(_WANTED),
    _WHOLE[2].join(Model, Model.id == Alias.model_id).where(_WANTED),
)
