"""/v1/usage and /v1/audit: what a tenant holds, and who wrote what."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from app.api.deps import After, Limit, ServicesDep, Tenant
from app.api.schemas import ListOf
from app.api.views import listing
from app.db.tables import Audit
from app.services.quotas import usage
from models.errors import NotFound

router = APIRouter(prefix="/v1", tags=["administration"])

_ID = "audit-"


class JobCounts(BaseModel):
    queued: int
    running: int


class Held(BaseModel):
    """Bytes and examples stored, and jobs; as limits, 0 is none."""

    bytes: int
    examples: int
    jobs: JobCounts


class UsageObject(Held):
    object: Literal["usage"] = "usage"
    tenant: str
    limits: Held
    requests_per_second: float


class AuditObject(BaseModel):
    """One write. `key_id` is empty where no key was asked for, `address` where the service itself wrote."""

    id: str
    object: Literal["audit"] = "audit"
    at: float
    tenant: str
    key_id: str
    address: str
    method: str
    request_id: str
    action: Literal["created", "changed", "deleted", "cancelled"]
    kind: str
    object_id: str
    digest: str
    detail: str


def audit_view(row: Audit) -> AuditObject:
    return AuditObject.model_validate(
        {name: getattr(row, name) for name in AuditObject.model_fields if name not in ("id", "object")}
        | {"id": f"{_ID}{row.seq}"}
    )


def line_number(after: str | None) -> int:
    """Raises NotFound for what names no line of the log."""
    if after is None:
        return 0
    number = after.removeprefix(_ID)
    if not (number.isascii() and number.isdigit() and len(number) < 16):
        raise NotFound("No such line.", param="after")
    return int(number)


@router.get("/usage")
def retrieve_usage(services: ServicesDep, tenant: Tenant) -> UsageObject:
    """What you hold beside what you may hold."""
    held, limits = usage(services.db, tenant), services.settings
    return UsageObject(
        tenant=tenant,
        bytes=held.bytes,
        examples=held.examples,
        jobs=JobCounts(queued=held.jobs_queued, running=held.jobs_running),
        limits=Held(
            bytes=limits.max_tenant_bytes,
            examples=limits.max_tenant_examples,
            jobs=JobCounts(queued=limits.max_queued_jobs, running=limits.max_running_jobs),
        ),
        requests_per_second=limits.max_requests_per_second,
    )


@router.get("/audit", response_model=ListOf[AuditObject])
def list_audit(services: ServicesDep, tenant: Tenant, after: After = None, limit: Limit = 100) -> Any:
    """Every write of your tenant, in order; for an admin's key."""
    return listing(services.audit.read(tenant, line_number(after), limit), audit_view)
