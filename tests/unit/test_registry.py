"""The registry reads what has changed, and ends where a reading of everything does."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from sqlalchemy import select, text

from app.db.database import Database
from app.db.tables import Alias, Change, Model, Version
from app.engine.model import LoadedModel
from app.services.catalogue import Catalogue
from app.services.models import Models
from app.services.registry import Registry
from models.errors import Conflict, InvalidRequest, NotFound
from tests.trunks import card, loaded, manifest

TENANT = "default"
NAMES = ("a", "b", "c")
TRIGGERS = ("versions_insert", "versions_delete", "aliases_insert", "aliases_update", "aliases_delete")
MODEL = loaded(manifest(card()))


def following(db: Database) -> Registry:
    """A process's registry. A model's name tells which artefact was opened."""

    def opened(tenant: str, name: str, number: int, digest: str) -> LoadedModel:
        return replace(MODEL, tenant=tenant, name=digest)

    return Registry(db, Catalogue(), opened)


def shown(registry: Registry) -> dict[str, Any]:
    """Each model's versions, by what they answer from, and its aliases."""
    return {
        name: ({number: it.model().name for number, it in entry.versions.items()}, dict(entry.aliases))
        for name, entry in registry.catalogue.snapshot(TENANT).items()
    }


class Changes:
    """Seeded changes of three models, by the use cases that the service has."""

    def __init__(self, db: Database, seed: int) -> None:
        self.db = db
        self.models = Models(db, lambda: None)
        self.draw = Random(seed)
        self.made = 0

    def make(self) -> None:
        change = self.draw.choices(
            (self._publish, self._point, self._unname, self._drop, self._delete), (6, 4, 2, 3, 1)
        )
        with suppress(NotFound, Conflict, InvalidRequest):  # what the draw asks for may not be there
            change[0](self.draw.choice(NAMES))

    def _publish(self, name: str) -> None:
        """A new version, live at once or not yet."""
        self.made += 1
        with self.db.write() as session:
            model = session.scalar(select(Model).where(Model.name == name))
            if model is None:
                model = Model(
                    id=f"model-{self.made}", tenant=TENANT, name=name, created_at=0.0, last_version=0
                )
                session.add(model)
            model.last_version += 1
            session.flush()
            made = {"artefact": f"artefact-{self.made}", "job_id": f"job-{self.made}", "created_at": 0.0}
            number = model.last_version
            session.add(Version(model_id=model.id, version=number, manifest={}, metrics={}, **made))
            if number == 1 or self.draw.random() < 0.5:
                session.merge(Alias(model_id=model.id, alias="live", version=number))

    def _point(self, name: str) -> None:
        self.models.set_alias(TENANT, name, self.draw.choice(("live", "best")), self.draw.randint(1, 6))

    def _unname(self, name: str) -> None:
        self.models.delete_alias(TENANT, name, "best")

    def _drop(self, name: str) -> None:
        self.models.delete(TENANT, f"{name}:{self.draw.randint(1, 6)}")

    def _delete(self, name: str) -> None:
        self.models.delete(TENANT, name)


def agree(db: Database, changes: Changes, registries: dict[float, Registry]) -> bool:
    """Whether registries that look after some changes and not after others always show, having looked, what a
    new one does; each is given with the share of changes after which it looks."""
    for _ in range(80):
        changes.make()
        for share, registry in registries.items():
            if changes.draw.random() < share:
                fresh = following(db)
                registry.refresh()
                fresh.refresh()
                if shown(registry) != shown(fresh):
                    return False
    return True


@pytest.mark.parametrize("seed", [1, 2])
def test_differences_end_where_a_whole_reading_does(open_database: Callable[[], Database], seed: int) -> None:
    here, there = open_database(), open_database()
    assert agree(here, Changes(here, seed), {0.9: following(here), 0.3: following(there)})


@pytest.mark.parametrize("trigger", [*TRIGGERS, "models_delete"])
def test_a_write_that_does_not_name_its_model_would_be_found(
    open_database: Callable[[], Database], trigger: str
) -> None:
    db = open_database()
    with db.write() as session:
        table = trigger.partition("_")[0]
        on = f" ON {table}" if db.engine.dialect.name == "postgresql" else ""
        session.execute(text(f"DROP TRIGGER {trigger}{on}"))
    assert not agree(db, Changes(db, 1), {0.9: following(db)})


def test_only_the_model_that_changed_is_read(
    open_database: Callable[[], Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    db = open_database()
    changes, registry = Changes(db, 1), following(db)
    for name in NAMES:
        changes._publish(name)
    registry.refresh()
    read = list[int]()
    apply = registry._apply
    monkeypatch.setattr(registry, "_apply", lambda found: (read.append(len(found)), apply(found)))
    changes.models.set_alias(TENANT, "b", "best", 1)
    registry.refresh()
    registry.refresh()
    assert read == [1]
    assert shown(registry)["b"][1] == {"live": 1, "best": 1}


def test_numbers_that_went_back_are_no_reason_to_miss_a_change(open_database: Callable[[], Database]) -> None:
    """As after another database was put in the place of this one."""
    db = open_database()
    changes, registry = Changes(db, 1), following(db)
    for _ in range(5):
        changes._publish("a")
    registry.refresh()
    with db.write() as session:
        session.execute(text("UPDATE changes SET n = 1"))
        session.execute(text("UPDATE models SET changed = 1"))
    changes.models.set_alias(TENANT, "a", "best", 2)
    registry.refresh()
    with db.read() as session:
        assert registry.change == session.scalar(select(Change.n))
    assert shown(registry)["a"][1]["best"] == 2
