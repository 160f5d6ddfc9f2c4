"""/v1/backbones: what there is to transfer from."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.api.deps import ServicesDep
from app.api.schemas import BackboneObject, ListOf
from app.api.views import backbone_view

router = APIRouter(prefix="/v1/backbones", tags=["backbones"])


@router.get("", response_model=ListOf[BackboneObject])
def list_backbones(services: ServicesDep) -> Any:
    """Every backbone that a job may name."""
    return {"data": [backbone_view(card) for card in services.shelf.list()]}


@router.get("/{backbone_id:path}")
def retrieve_backbone(services: ServicesDep, backbone_id: str) -> BackboneObject:
    """One backbone, with its taps."""
    return backbone_view(services.shelf.get(backbone_id)[0])
