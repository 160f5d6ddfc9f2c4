"""/v1/recommendations: before training, which backbone and tap suit some examples."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter

from app.api.deps import ServicesDep, Tenant
from app.api.schemas import Body
from models.recommendation import Recommendation

router = APIRouter(prefix="/v1/recommendations", tags=["recommendations"])


class CreateRecommendation(Body):
    training_file: str
    unlabelled_file: str | None = None


class RecommendationObject(Recommendation):
    object: Literal["recommendation"] = "recommendation"


@router.post("")
def create_recommendation(
    services: ServicesDep, tenant: Tenant, body: CreateRecommendation
) -> RecommendationObject:
    """Rank backbones and taps for a file or dataset, and name the setting of transfer; nothing is trained."""
    found = services.recommendations.recommend(tenant, body.training_file, body.unlabelled_file)
    return RecommendationObject(**found.model_dump())
