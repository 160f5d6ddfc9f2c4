"""What routes ask for, as annotated aliases. Coroutines: the framework runs plain functions in threads."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Query, Request

from app.services.container import Services


async def services(request: Request) -> Services:
    """The container that `app.main` built."""
    container: Services = request.app.state.services
    return container


async def tenant(request: Request) -> str:
    """Whose request this is; the gate has seen the key."""
    name: str = request.state.tenant
    return name


ServicesDep = Annotated[Services, Depends(services)]
Tenant = Annotated[str, Depends(tenant)]
After = Annotated[str | None, Query(max_length=64, description="id of the last row of the page before")]
Limit = Annotated[int, Query(ge=1, le=1_000)]
