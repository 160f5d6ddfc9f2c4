"""/v1/models: what was fine-tuned; versions, aliases, and examples that become a new version."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool

from app.api.deps import ServicesDep, Tenant
from app.api.examples import BODY, examples_of
from app.api.schemas import AliasObject, Deleted, ListOf, ModelObject, SetAlias, TrainedModel
from app.api.views import dataset_view, job_view, model_view
from app.api.waiting import ended, seconds_of
from app.services.container import Services
from models.base import ModalityName, TaskName

router = APIRouter(prefix="/v1/models", tags=["models"])


@router.get("", response_model=ListOf[ModelObject])
def list_models(services: ServicesDep, tenant: Tenant) -> Any:
    """Your models, newest first, each at its live version."""
    return {"data": [model_view(view) for view in services.models.list(tenant)]}


@router.get("/{reference}")
def retrieve_model(services: ServicesDep, tenant: Tenant, reference: str) -> ModelObject:
    """A model by `name`, `name:3` or `name@alias`."""
    return model_view(services.models.get(tenant, reference))


@router.delete("/{reference}")
def delete_model(services: ServicesDep, tenant: Tenant, reference: str) -> Deleted:
    """Delete a model, or one version of it (`name:3`); it stops answering at once."""
    services.models.delete(tenant, reference)
    return Deleted(id=reference, object="model")


@router.get("/{name}/versions", response_model=ListOf[ModelObject])
def list_versions(services: ServicesDep, tenant: Tenant, name: str) -> Any:
    """All versions, newest first."""
    return {"data": [model_view(view) for view in services.models.versions(tenant, name)]}


@router.put("/{name}/aliases/{alias}")
def set_alias(services: ServicesDep, tenant: Tenant, name: str, alias: str, body: SetAlias) -> AliasObject:
    """Make or move an alias. Moving `live` is how a version is rolled back."""
    services.models.set_alias(tenant, name, alias, body.version)
    return AliasObject(model=name, alias=alias, version=body.version)


@router.delete("/{name}/aliases/{alias}")
def delete_alias(services: ServicesDep, tenant: Tenant, name: str, alias: str) -> Deleted:
    """Take an alias away (`live` can only be moved)."""
    services.models.delete_alias(tenant, name, alias)
    return Deleted(id=f"{name}@{alias}", object="model.alias")


@router.post("/{name}/examples", openapi_extra=BODY)
async def train_model(
    services: ServicesDep,
    tenant: Tenant,
    name: str,
    request: Request,
    backbone: Annotated[str | None, Query(max_length=160)] = None,
    method: Annotated[str | None, Query(max_length=64)] = None,
    modality: ModalityName | None = None,
    task: TaskName | None = None,
    prefer: Annotated[str | None, Header(max_length=255)] = None,
) -> TrainedModel:
    """Examples in, model out: store them with the model's others and fit its next version."""
    examples = await examples_of(request, task)
    grown = await run_in_threadpool(
        lambda: services.growing.add(
            tenant, name, examples, backbone=backbone, method=method, modality=modality, task=task
        )
    )
    job = grown.job
    if job is not None:
        job = await ended(services, tenant, job, seconds_of(prefer))
    return TrainedModel(
        added=len(grown.added.examples),
        duplicates=grown.added.duplicates,
        dataset=dataset_view(grown.dataset),
        job=None if job is None else job_view(job),
        model=await _served(services, tenant, name)
        if job is not None and job.status == "succeeded"
        else None,
        note=grown.note,
    )


async def _served(services: Services, tenant: str, name: str) -> ModelObject:
    return model_view(await run_in_threadpool(services.models.get, tenant, name))
