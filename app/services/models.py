"""Published models: listed, described, aliased, deleted. A change here is seen by the engine at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.database import Database
from app.db.tables import Alias, Model, Version
from app.services.catalogue import LIVE, Reference
from app.services.ids import check_name
from models.errors import Conflict, InvalidRequest, NotFound
from models.manifest import Manifest

_MISSING = "No such model."


@dataclass(frozen=True)
class ModelView:
    """One version of a model, with the model's aliases."""

    name: str
    tenant: str
    version: int
    created_at: float
    manifest: Manifest
    aliases: dict[str, int]
    metrics: dict[str, Any]


class Models:
    """`changed` is called after every commit that alters what is served."""

    def __init__(self, db: Database, changed: Callable[[], None]) -> None:
        self.db = db
        self.changed = changed

    def list(self, tenant: str) -> Sequence[ModelView]:
        """Every model, newest first, at its live version (its newest where none is live)."""
        with self.db.read() as session:
            models = session.scalars(
                select(Model).where(Model.tenant == tenant).order_by(Model.created_at.desc(), Model.name)
            ).all()
            views = [_view(session, model, _current(session, model)) for model in models]
        return [view for view in views if view is not None]

    def get(self, tenant: str, reference: str) -> ModelView:
        with self.db.read() as session:
            return self._get(session, tenant, reference)

    def _get(self, session: Session, tenant: str, reference: str) -> ModelView:
        ref = Reference.parse(reference)
        model = _model(session, tenant, ref.name)
        version = ref.version or _alias_version(session, model, ref.alias or LIVE)
        view = _view(session, model, version)
        if view is None:
            raise NotFound("This model has no such version.", param="model")
        return view

    def versions(self, tenant: str, name: str) -> Sequence[ModelView]:
        """All versions, newest first."""
        with self.db.read() as session:
            model = _model(session, tenant, name)
            numbers = session.scalars(
                select(Version.version).where(Version.model_id == model.id).order_by(Version.version.desc())
            ).all()
            views = [_view(session, model, number) for number in numbers]
        return [view for view in views if view is not None]

    def set_alias(self, tenant: str, name: str, alias: str, version: int) -> None:
        """Move or make an alias; predictions by that alias answer from `version` from then on."""
        check_name(alias, "alias")
        with self.db.write() as session:
            model = _model(session, tenant, name)
            if session.get(Version, (model.id, version)) is None:
                raise NotFound("This model has no such version.", param="version")
            session.merge(Alias(model_id=model.id, alias=alias, version=version))
        self.changed()

    def delete_alias(self, tenant: str, name: str, alias: str) -> None:
        if alias == LIVE:
            raise InvalidRequest(
                "The alias live can be moved, not deleted; delete the model instead.", param="alias"
            )
        with self.db.write() as session:
            row = session.get(Alias, (_model(session, tenant, name).id, alias))
            if row is None:
                raise NotFound("This model has no such alias.", param="alias")
            session.delete(row)
        self.changed()

    def delete(self, tenant: str, reference: str) -> None:
        """Delete a model (`name`) or one of its versions (`name:3`), unless an alias points at it."""
        ref = Reference.parse(reference)
        if ref.alias is not None:
            raise InvalidRequest("Delete a model by name or by name:version.", param="model")
        with self.db.write() as session:
            model = _model(session, tenant, ref.name)
            if ref.version is None:
                session.delete(model)
            else:
                _delete_version(session, model, ref.version)
        self.changed()


def _delete_version(session: Session, model: Model, number: int) -> None:
    version = session.get(Version, (model.id, number))
    if version is None:
        raise NotFound("This model has no such version.", param="model")
    held = [alias for alias, at in _aliases(session, model).items() if at == number]
    if held:
        raise Conflict(
            f"The alias {held[0]} points at this version; move it first.",
            code="version_in_use",
            param="model",
        )
    session.delete(version)


def _model(session: Session, tenant: str, name: str) -> Model:
    model = session.scalar(select(Model).where(Model.tenant == tenant, Model.name == name))
    if model is None or model.last_version == 0:
        raise NotFound(_MISSING, param="model")
    return model


def _aliases(session: Session, model: Model) -> dict[str, int]:
    rows = session.scalars(select(Alias).where(Alias.model_id == model.id).order_by(Alias.alias))
    return {row.alias: row.version for row in rows}


def _alias_version(session: Session, model: Model, alias: str) -> int:
    row = session.get(Alias, (model.id, alias))
    if row is None:
        raise NotFound("This model has no such alias.", param="model")
    return row.version


def _current(session: Session, model: Model) -> int:
    return _aliases(session, model).get(LIVE, model.last_version)


def _view(session: Session, model: Model, number: int) -> ModelView | None:
    version = session.get(Version, (model.id, number))
    if version is None:
        return None
    return ModelView(
        name=model.name,
        tenant=model.tenant,
        version=number,
        created_at=version.created_at,
        manifest=Manifest.model_validate(version.manifest),
        aliases=_aliases(session, model),
        metrics=version.metrics,
    )
