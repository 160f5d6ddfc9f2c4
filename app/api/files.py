"""/v1/files: one upload, validated before the answer."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Form, Query, Response, UploadFile
from fastapi.concurrency import run_in_threadpool

from app.api.deps import After, Limit, ServicesDep, Tenant
from app.api.schemas import Deleted, FileObject, ListOf
from app.api.views import file_view, listing

router = APIRouter(prefix="/v1/files", tags=["files"])


@router.post("")
async def create_file(
    services: ServicesDep,
    tenant: Tenant,
    file: UploadFile,
    purpose: Annotated[str, Form()] = "fine-tune",
    modality: Annotated[str | None, Form()] = None,
    task: Annotated[str | None, Form()] = None,
) -> FileObject:
    """Upload labelled or unlabelled examples: jsonl, csv, parquet, npz or zip."""
    data = await file.read()
    row = await run_in_threadpool(
        services.files.create, tenant, file.filename or "", data, purpose, modality, task
    )
    return file_view(row)


@router.get("", response_model=ListOf[FileObject])
def list_files(
    services: ServicesDep,
    tenant: Tenant,
    purpose: Annotated[str | None, Query()] = None,
    after: After = None,
    limit: Limit = 1_000,
) -> Any:
    """Your files, newest first."""
    return listing(services.files.list(tenant, purpose, after, limit), file_view)


@router.get("/{file_id}")
def retrieve_file(services: ServicesDep, tenant: Tenant, file_id: str) -> FileObject:
    """One file's description."""
    return file_view(services.files.get(tenant, file_id))


@router.get("/{file_id}/content")
def download_file(services: ServicesDep, tenant: Tenant, file_id: str) -> Response:
    """The bytes as they were uploaded."""
    row, data = services.files.content(tenant, file_id)
    name = row.filename.encode("ascii", "replace").decode().replace('"', "'")
    return Response(
        data,
        media_type="application/octet-stream",
        headers={"content-disposition": f'attachment; filename="{name}"'},
    )


@router.delete("/{file_id}")
def delete_file(services: ServicesDep, tenant: Tenant, file_id: str) -> Deleted:
    """Forget a file. Jobs that are running on it end as they would have."""
    services.files.delete(tenant, file_id)
    return Deleted(id=file_id, object="file")
