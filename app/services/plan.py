"""From "which model" to which backbones a job may use and under which name it publishes."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.tables import Alias, Model, Version
from app.engine.providers import Device
from app.services.data import Source
from app.services.features import baselines, candidates
from models.backbone import BackboneCard
from models.base import ModalityName, TaskName
from models.errors import InvalidInput, NotFound
from models.manifest import Manifest
from models.shelf import Shelf

_NOT_IN_NAME = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class Plan:
    """`target` is the model name to publish under; backbones are `(id, digest)`, behind them the tap where
    one was asked for; `parent` is the digest of
    the artefact that the job starts from; `names` is where class names are embedded."""

    target: str
    task: TaskName
    modality: ModalityName
    backbones: Sequence[Sequence[str]]
    baselines: Sequence[tuple[str, str]]
    parent: str | None = None
    names: tuple[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "target": self.target,
            "task": self.task,
            "modality": self.modality,
            "backbones": [list(b) for b in self.backbones],
            "baselines": [list(b) for b in self.baselines],
            "parent": self.parent,
            "names": None if self.names is None else list(self.names),
        }


class Planner:
    def __init__(self, shelf: Shelf, max_classes: int, device: Callable[[], Device] = lambda: "cpu") -> None:
        self.shelf = shelf
        self.max_classes = max_classes
        self.device = device

    def plan(
        self,
        session: Session,
        tenant: str,
        model: str,
        suffix: str | None,
        training: Source,
        method: Mapping[str, Any],
    ) -> Plan:
        """`model` is a backbone id, also with a tap (`id@tap`), an existing model (its backbone, a new
        version of it), or "auto"; `method` the description of the method."""
        training.check_trainable(self.max_classes, labels_optional=method["labels_optional"])
        modality = training.input.modality
        model, tap = _split(model)
        target, parent, cards = self._resolve(session, tenant, model, modality)
        for card in cards:
            if card.modality != modality:
                raise InvalidInput(
                    f"{card.id} takes {card.modality}, and {training.name} holds {modality}.",
                    code="modality_mismatch",
                    param="model",
                )
        others = [card for card in baselines(self.shelf, modality) if card not in cards]
        return Plan(
            target=_target(suffix, target, modality),
            task=training.task,
            modality=modality,
            backbones=[(card.id, card.digest, *_known_tap(card, tap)) for card in cards],
            baselines=[(card.id, card.digest) for card in others],
            parent=parent,
            names=self._names() if "names" in method["needs"] else None,
        )

    def _resolve(
        self, session: Session, tenant: str, model: str, modality: str
    ) -> tuple[str | None, str | None, list[BackboneCard]]:
        """The name to publish under and the artefact to start from, if it is a model; the backbones."""
        if model == "auto":
            return None, None, self._auto(modality)
        if "/" in model:
            return None, None, [self._card(model)]
        row = _model_of(session, tenant, model)
        if row is None:
            self._card(model)
            raise NotFound("model names neither a backbone nor a model of yours.", param="model")
        parent = _live(session, row)
        return row.name, parent.digest, [self._card(parent.backbone.id)]

    def _names(self) -> tuple[str, str]:
        """The first real text backbone. Raises InvalidInput."""
        cards = [card for card in candidates(self.shelf, "text") if not card.baseline]
        if not cards:
            raise InvalidInput(
                "This method embeds class names, and there is no text backbone: `durian backbones setup` "
                "makes the embedded ones.",
                code="no_backbone",
                param="method.type",
            )
        return cards[0].id, cards[0].digest

    def _auto(self, modality: str) -> list[BackboneCard]:
        cards = candidates(self.shelf, modality, self.device())
        if not cards:
            raise InvalidInput(
                f"There is no backbone for {modality}: `durian backbones setup` makes the embedded ones.",
                code="no_backbone",
                param="model",
            )
        return cards

    def _card(self, backbone_id: str) -> BackboneCard:
        try:
            return self.shelf.get(backbone_id)[0]
        except NotFound as error:
            raise NotFound(
                "model names neither a backbone (see GET /v1/backbones) nor a model of yours.", param="model"
            ) from error


def _split(model: str) -> tuple[str, str | None]:
    """`text/minilm-l6@layer_3` -> the backbone and the tap; anything else is left whole."""
    name, at, tap = model.partition("@")
    return (name, tap) if at and "/" in name else (model, None)


def _known_tap(card: BackboneCard, tap: str | None) -> tuple[str, ...]:
    """The tap that was asked for, if one was. Raises InvalidInput naming those there are."""
    if tap is None:
        return ()
    try:
        return (card.tap(tap).name,)
    except KeyError:
        known = ", ".join(one.name for one in card.taps)
        raise InvalidInput(
            f"{card.id} has no such tap; it has {known}, and a+b joins two.",
            code="unknown_tap",
            param="model",
        ) from None


def _model_of(session: Session, tenant: str, reference: str) -> Model | None:
    name = re.split(r"[:@]", reference)[0]
    return session.scalar(select(Model).where(Model.tenant == tenant, Model.name == name))


def _live(session: Session, model: Model) -> Manifest:
    version = session.scalar(
        select(Version)
        .join(Alias, (Alias.model_id == Version.model_id) & (Alias.version == Version.version))
        .where(Version.model_id == model.id, Alias.alias == "live")
    )
    if version is None:
        raise NotFound("This model has no live version to start from.", param="model")
    return Manifest.model_validate(version.manifest)


def slug(text: str) -> str:
    """The nearest valid name to a free text; empty when nothing of it can stand in one."""
    return _NOT_IN_NAME.sub("-", text.lower()).strip("-._")[:64].strip("-._")


def _target(suffix: str | None, existing: str | None, modality: str) -> str:
    if suffix is not None:
        name = slug(suffix)
        if not name:
            raise InvalidInput("suffix needs at least one letter or digit (a-z, 0-9).", param="suffix")
        return name
    return existing or f"{modality}-{secrets.token_hex(4)}"
