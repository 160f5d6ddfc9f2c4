"""/v1/predictions and /v1/embeddings: the routes that must be fast. No database, no pydantic model."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import orjson
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError
from starlette.datastructures import UploadFile

from app.api.deadlines import deadline_of
from app.api.deps import ServicesDep, Tenant
from app.api.examples import parse_json
from app.api.exchange import Whole
from app.api.fields import field
from app.api.schemas import EmbeddingRequest, PredictRequest
from app.services.container import Services
from models.errors import InvalidInput, InvalidRequest

router = APIRouter(prefix="/v1", tags=["predictions"])

_MAX_INPUTS = 2_048
_MAX_PARTS = 1_000
_TOP_K = 5
_PARTS = {
    "type": "object",
    "required": ["model", "file"],
    "properties": {
        "model": {"type": "string"},
        "file": {"type": "array", "items": {"type": "string", "format": "binary"}},
        "top_k": {"type": "integer"},
        "return_embedding": {"type": "boolean"},
    },
}
_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": PredictRequest.model_json_schema()},
        "multipart/form-data": {"schema": _PARTS},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
_FIELDS = frozenset(PredictRequest.model_fields)
_MULTIPART = "multipart/form-data"


@router.post("/predictions", openapi_extra={"requestBody": _BODY})
async def predict(services: ServicesDep, tenant: Tenant, request: Request) -> Response:
    """Answers for one input or many: JSON, multipart `model` + `file` parts, or a raw body with `?model=`."""
    asked = await _asked(request)
    answer = await services.serving.predict(
        tenant,
        asked["model"],
        asked["inputs"],
        top_k=asked["top_k"],
        return_embedding=asked["return_embedding"],
        deadline=deadline_of(request.scope),
    )
    body = {
        "id": f"pred-{request.scope['state']['request_id']}",
        "object": "list",
        "model": answer.model,
        "version": answer.version,
        "digest": answer.digest,
        "data": answer.rows,
        "usage": {"examples": len(answer.rows)},
    }
    return _json(body)


def _json(body: dict[str, Any]) -> Response:
    return Whole(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY))


async def _asked(request: Request) -> dict[str, Any]:
    kind = (field(request.scope, b"content-type") or "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return _from_json(await _parsed(request))
    if kind == _MULTIPART:
        return await _from_form(request)
    return _from_raw(request, await request.body())


async def _parsed(request: Request) -> object:
    """The body's JSON, which the gate has parsed already."""
    state = request.scope["state"]
    return state["json"] if "json" in state else parse_json(await request.body())


def _from_json(body: object) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise InvalidRequest('Send an object such as {"model": "name", "input": ...}.', param="body")
    for key in body.keys() - _FIELDS:
        raise InvalidRequest(f"Unknown field; there are: {', '.join(sorted(_FIELDS))}.", param=str(key)[:64])
    if "input" not in body:
        raise InvalidInput("input is missing.", code="missing", param="input")
    return {
        "model": _model(body.get("model")),
        "inputs": _inputs(body["input"]),
        "top_k": _top_k(body.get("top_k")),
        "return_embedding": _flag(body.get("return_embedding", False)),
    }


async def _from_form(request: Request) -> dict[str, Any]:
    async with request.form(max_files=_MAX_PARTS, max_fields=16) as form:
        inputs = [await part.read() for part in form.getlist("file") if isinstance(part, UploadFile)]
        return _checked(form, inputs)


def _from_raw(request: Request, body: bytes) -> dict[str, Any]:
    text = (field(request.scope, b"content-type") or "").startswith("text/plain")
    return _checked(request.query_params, [_utf8(body) if text else body])


def _checked(fields: Any, inputs: list[Any]) -> dict[str, Any]:
    top_k = fields.get("top_k")
    return {
        "model": _model(fields.get("model")),
        "inputs": _bounded(inputs),
        "top_k": _top_k(int(top_k) if isinstance(top_k, str) and top_k.isdecimal() else top_k),
        "return_embedding": fields.get("return_embedding") in ("true", "1"),
    }


def _utf8(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidInput("The text body is not UTF-8.", code="bad_text", param="body") from None


def _model(value: object) -> str:
    if not isinstance(value, str):
        raise InvalidInput(
            "model is missing: name a model, such as name, name:3 or name@alias.", param="model"
        )
    return value


def _inputs(value: object) -> list[Any]:
    """One input or a list of them; a list of numbers is one signal."""
    many = isinstance(value, list) and not (value and _is_number(value[0]))
    return _bounded(value if isinstance(value, list) and many else [value])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _bounded(inputs: list[Any]) -> list[Any]:
    if not inputs:
        raise InvalidInput("There is no input.", code="empty", param="input")
    if len(inputs) > _MAX_INPUTS:
        raise InvalidInput(
            f"{len(inputs)} inputs are more than the {_MAX_INPUTS} of one request; send several.",
            code="too_many_inputs",
            param="input",
        )
    return inputs


def _top_k(value: object) -> int:
    if value is None:
        return _TOP_K
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 10_000:
        raise InvalidInput("top_k must be a whole number from 1 to 10000.", param="top_k")
    return value


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput("return_embedding must be true or false.", param="return_embedding")
    return value


@router.post("/embeddings")
async def embed(services: ServicesDep, tenant: Tenant, request: Request, body: EmbeddingRequest) -> Response:
    """A backbone's features, in OpenAI's shape."""
    return await _embed(services, tenant, request, body)


async def embed_plain(services: Services, tenant: str, request: Request) -> Response | None:
    """`embed` of a request's JSON; None where that does not validate, which the framework explains."""
    if not (field(request.scope, b"content-type") or "").startswith("application/json"):
        return None
    try:
        body = EmbeddingRequest.model_validate_json(await request.body())
    except ValidationError:
        return None
    return await _embed(services, tenant, request, body)


async def _embed(services: Services, tenant: str, request: Request, body: EmbeddingRequest) -> Response:
    card, _ = services.shelf.get(body.model)
    if body.dimensions not in (None, card.embedding_dim):
        raise InvalidInput(f"{card.id} gives {card.embedding_dim} dimensions.", param="dimensions")
    deadline = deadline_of(request.scope)
    vectors = await services.serving.embed(tenant, card, _inputs(body.input), body.tap, deadline=deadline)
    data = [
        {"object": "embedding", "index": i, "embedding": _encoded(vector, body.encoding_format)}
        for i, vector in enumerate(np.ascontiguousarray(vectors, "<f4"))
    ]
    usage = {"prompt_tokens": 0, "total_tokens": 0, "examples": len(data)}
    return _json({"object": "list", "data": data, "model": card.id, "usage": usage})


def _encoded(vector: Any, encoding: str) -> Any:
    return base64.b64encode(vector.tobytes()).decode() if encoding == "base64" else vector
