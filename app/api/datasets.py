"""/v1/datasets: examples that grow."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool

from app.api.deps import After, Limit, ServicesDep, Tenant
from app.api.examples import BODY, examples_of
from app.api.schemas import AddedExamples, CreateDataset, DatasetObject, Deleted, ExampleObject, ListOf
from app.api.views import dataset_view, example_view, listing
from app.services.page import Page

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.post("")
def create_dataset(services: ServicesDep, tenant: Tenant, body: CreateDataset) -> DatasetObject:
    """A new, empty dataset."""
    return dataset_view(services.datasets.create(tenant, body.name, body.modality, body.task))


@router.get("", response_model=ListOf[DatasetObject])
def list_datasets(services: ServicesDep, tenant: Tenant, after: After = None, limit: Limit = 100) -> Any:
    """Your datasets, newest first."""
    return listing(services.datasets.list(tenant, after, limit), dataset_view)


@router.get("/{dataset_id}")
def retrieve_dataset(services: ServicesDep, tenant: Tenant, dataset_id: str) -> DatasetObject:
    """Counts, and the digest of the current snapshot."""
    return dataset_view(services.datasets.get(tenant, dataset_id))


@router.delete("/{dataset_id}")
def delete_dataset(services: ServicesDep, tenant: Tenant, dataset_id: str) -> Deleted:
    """Forget a dataset and its examples."""
    services.datasets.delete(tenant, dataset_id)
    return Deleted(id=dataset_id, object="dataset")


@router.post("/{dataset_id}/examples", response_model=AddedExamples, openapi_extra=BODY)
async def add_examples(services: ServicesDep, tenant: Tenant, dataset_id: str, request: Request) -> Any:
    """Add a batch: a JSON list of {input, label}, or files with labels. All of it is stored, or none."""
    view = await run_in_threadpool(services.datasets.get, tenant, dataset_id)
    examples = await examples_of(request, view.row.task)
    added = await run_in_threadpool(services.datasets.add, tenant, dataset_id, examples)
    view = await run_in_threadpool(services.datasets.get, tenant, dataset_id)
    return {
        **listing(Page(added.examples, False), example_view),
        "duplicates": added.duplicates,
        "warnings": list(added.warnings),
        "dataset": dataset_view(view),
    }


@router.get("/{dataset_id}/examples", response_model=ListOf[ExampleObject])
def list_examples(
    services: ServicesDep,
    tenant: Tenant,
    dataset_id: str,
    after: After = None,
    limit: Limit = 100,
    label: Annotated[str | None, Query(max_length=256)] = None,
) -> Any:
    """Examples in the order of their upload; with `label`, those that carry it."""
    return listing(services.datasets.examples(tenant, dataset_id, after, limit, label), example_view)


@router.delete("/{dataset_id}/examples/{example_id}")
def delete_example(services: ServicesDep, tenant: Tenant, dataset_id: str, example_id: str) -> Deleted:
    """Take one example out; models fitted before keep what they learnt until they are fitted again."""
    services.datasets.delete_example(tenant, dataset_id, example_id)
    return Deleted(id=example_id, object="example")
