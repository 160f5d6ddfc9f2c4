"""/v1/fine_tuning: jobs, their events as a list or a stream, their reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import HTMLResponse, StreamingResponse

from app.api.deps import After, Limit, ServicesDep, Tenant
from app.api.report import render
from app.api.schemas import CheckpointObject, CreateJob, EventObject, JobObject, ListOf, MethodObject
from app.api.views import checkpoints_view, event_number, event_view, job_view, listing
from app.api.waiting import ended, seconds_of
from app.db.tables import TERMINAL
from app.services.container import Services
from app.services.jobs import JobRequest
from models.errors import InvalidInput

router = APIRouter(prefix="/v1/fine_tuning", tags=["fine-tuning"])

_STREAM_POLL_SECONDS = 0.1
_KEEP_ALIVE_POLLS = 100


@router.get("/methods", response_model=ListOf[MethodObject])
def list_methods(services: ServicesDep) -> Any:
    """Every transfer method: its hyperparameters as a JSON schema, what it serves, its source."""
    return {"data": services.methods.all()}


@router.post("/jobs")
async def create_job(
    services: ServicesDep,
    tenant: Tenant,
    body: CreateJob,
    response: Response,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
    prefer: Annotated[str | None, Header(max_length=255)] = None,
) -> JobObject:
    """Fine-tune a backbone (or refit a model) on a file or dataset."""
    job = await run_in_threadpool(services.jobs.create, tenant, _request(body), idempotency_key)
    seconds = seconds_of(prefer)
    if seconds:
        response.headers["preference-applied"] = f"wait={seconds:.0f}"
    return job_view(await ended(services, tenant, job, seconds))


def _request(body: CreateJob) -> JobRequest:
    name = body.method.type if body.method is not None else "auto"
    return JobRequest(
        model=body.model,
        training_file=body.training_file,
        validation_file=body.validation_file,
        unlabelled_file=body.unlabelled_file,
        suffix=body.suffix,
        method=name,
        hyperparameters=_hyperparameters(body, name),
        seed=body.seed,
        metadata=body.metadata or {},
    )


def _hyperparameters(body: CreateJob, name: str) -> dict[str, Any]:
    settings = (body.method.model_extra or {}).get(name) if body.method is not None else None
    if settings is None:
        return body.hyperparameters or {}
    if not isinstance(settings, dict) or settings.keys() - {"hyperparameters"}:
        raise InvalidInput(
            f'method.{name} must be an object of the form {{"hyperparameters": {{...}}}}.',
            param=f"method.{name}",
        )
    found = settings.get("hyperparameters") or {}
    if not isinstance(found, dict):
        raise InvalidInput("hyperparameters must be an object.", param=f"method.{name}.hyperparameters")
    return found


@router.get("/jobs", response_model=ListOf[JobObject])
def list_jobs(
    services: ServicesDep, tenant: Tenant, request: Request, after: After = None, limit: Limit = 20
) -> Any:
    """Your jobs, newest first; `metadata[k]=v` keeps those whose metadata says so."""
    wanted = {
        key[len("metadata[") : -1]: value
        for key, value in request.query_params.items()
        if key.startswith("metadata[") and key.endswith("]")
    }
    return listing(services.jobs.list(tenant, after, limit, wanted), job_view)


@router.get("/jobs/{job_id}")
def retrieve_job(services: ServicesDep, tenant: Tenant, job_id: str) -> JobObject:
    """One job."""
    return job_view(services.jobs.get(tenant, job_id))


@router.post("/jobs/{job_id}/cancel")
def cancel_job(services: ServicesDep, tenant: Tenant, job_id: str) -> JobObject:
    """End a job that has not ended; one that has is given back as it is."""
    return job_view(services.jobs.cancel(tenant, job_id))


@router.get(
    "/jobs/{job_id}/events",
    response_model=ListOf[EventObject],
    responses={200: {"content": {"text/event-stream": {}}}},
)
async def list_events(
    services: ServicesDep,
    tenant: Tenant,
    job_id: str,
    request: Request,
    after: After = None,
    limit: Limit = 100,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> Any:
    """The job's log in its order; as server-sent events with `Accept: text/event-stream`."""
    if "text/event-stream" not in request.headers.get("accept", ""):
        page = await run_in_threadpool(services.jobs.events, tenant, job_id, event_number(after), limit)
        return listing(page, event_view)
    await run_in_threadpool(services.jobs.get, tenant, job_id)
    stream = _stream(services, tenant, job_id, event_number(last_event_id or after))
    return StreamingResponse(stream, media_type="text/event-stream", headers={"cache-control": "no-store"})


async def _stream(services: Services, tenant: str, job_id: str, after: int) -> AsyncIterator[bytes]:
    """Events as they come, then the job itself as the last one."""
    quiet = 0
    while True:
        # The status is read before the events: what came with the end is then never missed.
        job = await run_in_threadpool(services.jobs.get, tenant, job_id)
        page = await run_in_threadpool(services.jobs.events, tenant, job_id, after, 1_000)
        for row in page.rows:
            after = row.seq
            yield _sse("fine_tuning.job.event", event_view(row).model_dump(mode="json"), f"ftevent-{row.seq}")
        if services.health.stopping:
            return  # a client that wants more comes again, with its Last-Event-ID
        if job.status in TERMINAL and not page.has_more:
            yield _sse("fine_tuning.job", job_view(job).model_dump(mode="json"), None)
            return
        quiet = 0 if page.rows else quiet + 1
        if quiet and quiet % _KEEP_ALIVE_POLLS == 0:
            yield b": still running\n\n"
        await asyncio.sleep(_STREAM_POLL_SECONDS)


def _sse(event: str, data: dict[str, Any], event_id: str | None) -> bytes:
    head = f"event: {event}\n" + (f"id: {event_id}\n" if event_id else "")
    return head.encode() + b"data: " + orjson.dumps(data) + b"\n\n"


@router.get("/jobs/{job_id}/checkpoints", response_model=ListOf[CheckpointObject])
def list_checkpoints(services: ServicesDep, tenant: Tenant, job_id: str) -> Any:
    """What the job published, each callable as a model."""
    return {"data": checkpoints_view(services.jobs.get(tenant, job_id))}


@router.get("/jobs/{job_id}/report", responses={200: {"content": {"text/html": {}}}})
def retrieve_report(services: ServicesDep, tenant: Tenant, job_id: str, request: Request) -> Response:
    """How good the model is and why it was chosen: JSON, or a page with plots for `Accept: text/html`."""
    body = services.jobs.report(tenant, job_id)
    if "text/html" in request.headers.get("accept", ""):
        return HTMLResponse(
            render(body), headers={"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
        )
    return Response(body, media_type="application/json")
