"""Open Inference Protocol v2: what `tritonclient` and other clients of inference servers speak."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Request, Response
from fastapi.routing import APIRoute

from app.api import oip_views as views
from app.api.deadlines import deadline_of
from app.api.oip_codec import InferRequest, decode_raw, decode_request, encode_response, header_length_of
from app.errors import headers_of, status_of
from app.services.catalogue import Entry, Reference, version_number
from app.services.container import Services
from app.services.health import Health
from app.services.serving import Serving
from models import __version__
from models.errors import DurianError, InvalidInput, InvalidRequest, TooLarge
from models.manifest import Manifest

JSON_LENGTH = "inference-header-content-length"
EXTENSIONS = ("binary_tensor_data", "classification", "model_repository", "schedule_policy", "statistics")
INFER = re.compile(r"/v2/models/(?P<ref>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer")
"""Paths of `infer`."""


class OipRoute(APIRoute):
    """Errors as this protocol has them: `{"error": text}`, and 400 for any fault of the request."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except DurianError as error:
                return _refusal(error)

        return answer


def _refusal(error: DurianError) -> Response:
    status = 400 if isinstance(error, InvalidInput | TooLarge) else status_of(error)
    return _json({"error": error.message}, status, headers_of(error))


async def _serving(request: Request) -> Serving:
    serving: Serving = request.app.state.services.serving
    return serving


async def _tenant(request: Request) -> str:
    return str(request.state.tenant)


ServingDep = Annotated[Serving, Depends(_serving)]
TenantDep = Annotated[str, Depends(_tenant)]

router = APIRouter(prefix="/v2", route_class=OipRoute, tags=["open inference protocol"])


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(body), status, headers, "application/json")


@router.get("")
async def server() -> Response:
    """Server metadata."""
    return _json({"name": "durian", "version": __version__, "extensions": EXTENSIONS})


@router.get("/health/live")
async def live() -> Response:
    """Whether the process answers."""
    return _json({"live": True})


@router.get("/health/ready")
async def ready(request: Request, serving: ServingDep) -> Response:
    """Whether predictions are served, on which device, and what does not work as it should."""
    found: Health = request.app.state.services.health
    health = serving.health()
    health = {**health, "ready": health["ready"] and found.fit, "degraded": found.degraded()}
    return _json(health, 200 if health["ready"] else 503)


@router.get("/models")
async def models(serving: ServingDep, tenant: TenantDep) -> Response:
    """Names of all models."""
    return _json({"models": [entry.name for entry in serving.models(tenant)]})


@router.get("/models/stats")
async def all_stats(serving: ServingDep, tenant: TenantDep) -> Response:
    """Statistics of every version that has been loaded."""
    return _json({"model_stats": await _stats(serving, tenant, serving.models(tenant))})


@router.get("/models/{ref}")
@router.get("/models/{ref}/versions/{version}")
async def model(serving: ServingDep, tenant: TenantDep, ref: str, version: str | None = None) -> Response:
    """Model metadata: versions, inputs, outputs."""
    loaded = await serving.resolve(tenant, ref, _number(version))
    entry = serving.entry(tenant, ref)
    return _json(views.metadata(entry.name, sorted(entry.versions), loaded.manifest))


@router.get("/models/{ref}/ready")
@router.get("/models/{ref}/versions/{version}/ready")
async def model_ready(
    serving: ServingDep, tenant: TenantDep, ref: str, version: str | None = None
) -> Response:
    """Whether the model answers; loads it if need be."""
    await serving.loaded(tenant, ref, _number(version))
    return _json({"name": Reference.parse(ref).name, "ready": True})


@router.get("/models/{ref}/stats")
@router.get("/models/{ref}/versions/{version}/stats")
async def stats(serving: ServingDep, tenant: TenantDep, ref: str, version: str | None = None) -> Response:
    """Statistics of one version, or of all loaded ones."""
    if version is None and Reference.parse(ref).bare:
        return _json({"model_stats": await _stats(serving, tenant, [serving.entry(tenant, ref)])})
    loaded, counters = await serving.loaded(tenant, ref, _number(version))
    name = Reference.parse(ref).name
    return _json({"model_stats": [views.model_stats(name, loaded.version, counters)]})


@router.post("/models/{ref}/infer")
@router.post("/models/{ref}/versions/{version}/infer")
async def infer(
    request: Request, serving: ServingDep, tenant: TenantDep, ref: str, version: str | None = None
) -> Response:
    """Predict. JSON, or JSON and binary tensors."""
    loaded = await serving.resolve(tenant, ref, _number(version))
    asked = _decode(await request.body(), request.headers.get(JSON_LENGTH), loaded.manifest)
    outputs = views.wanted(loaded.manifest, asked)
    prediction = await serving.infer(
        loaded,
        views.inputs_of(loaded.manifest, asked),
        embedding=any(output.name == views.EMBEDDING for output in outputs),
        unknown=any(output.name == views.UNKNOWN for output in outputs),
        deadline=deadline_of(request.scope, asked.timeout_us),
        priority=asked.priority,
    )
    encoded = encode_response(
        views.outputs_of(loaded.manifest, prediction, outputs),
        model_name=ref,
        model_version=str(loaded.version),
        id=asked.id,
        parameters=views.receipts(loaded),
    )
    if encoded.header_length is None:
        return Response(encoded.body, media_type="application/json")
    headers = {"Inference-Header-Content-Length": str(encoded.header_length)}
    return Response(encoded.body, headers=headers, media_type="application/octet-stream")


async def infer_plain(services: Services, tenant: str, request: Request) -> Response:
    """`infer` for a path that `INFER` matches."""
    found = INFER.fullmatch(request.scope["path"])
    assert found is not None  # noqa: S101 (by the caller)
    try:
        return await infer(request, services.serving, tenant, **found.groupdict())
    except DurianError as error:
        return _refusal(error)


@router.post("/repository/index")
async def repository_index(request: Request, serving: ServingDep, tenant: TenantDep) -> Response:
    """Every version of every model. All are ready: what is not is never in the catalogue."""
    _check_index_body(await request.body())
    return _json(
        [
            {"name": entry.name, "version": str(number), "state": "READY", "reason": ""}
            for entry in serving.models(tenant)
            for number in sorted(entry.versions)
        ]
    )


@router.post("/repository/models/{ref}/load")
async def load(request: Request, serving: ServingDep, tenant: TenantDep, ref: str) -> Response:
    """Load the model that is published under this name. New ones come by `/v1`, not from the body."""
    if _fields(await request.body()).get("parameters"):
        message = "Models are made and published by /v1; load takes no config and no files."
        raise InvalidRequest(message, param="parameters")
    await serving.loaded(tenant, ref)
    return _json({})


@router.post("/repository/models/{ref}/unload")
async def unload(serving: ServingDep, tenant: TenantDep, ref: str) -> Response:
    """Refused: what is published is served, whether it is in memory or not."""
    serving.entry(tenant, ref)
    raise InvalidRequest(
        "Models are not unloaded by hand: the least recently used make room by themselves. To stop serving "
        "one, DELETE /v1/models/{name}.",
        param="model",
    )


def _check_index_body(body: bytes) -> None:
    if not isinstance(_fields(body).get("ready", False), bool):
        raise InvalidRequest('The body is empty or an object such as {"ready": true}.', param="ready")


def _fields(body: bytes) -> dict[str, Any]:
    """The object in a body, which may be empty. Raises InvalidRequest."""
    try:
        fields = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError:
        fields = None
    if not isinstance(fields, dict):
        raise InvalidRequest("The body is empty or a JSON object.", param="body")
    return fields


def _number(version: str | None) -> int | None:
    return None if version is None else version_number(version)


def _decode(body: bytes, json_length: str | None, manifest: Manifest) -> InferRequest:
    length = header_length_of(json_length)
    if length != 0:
        return decode_request(body, length)
    spec = views.input_spec(manifest)
    return decode_raw(body, spec["name"], spec["datatype"])


async def _stats(serving: Serving, tenant: str, entries: Sequence[Entry]) -> list[dict[str, Any]]:
    return [views.model_stats(*counted) for counted in await serving.counters(tenant, entries)]
