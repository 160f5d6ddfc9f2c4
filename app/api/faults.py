"""Exceptions that reach the edge, as answers. Nothing of the input, of a path or of a traceback leaks.

What nobody foresaw is answered by the gate.
"""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from app.errors import body_of, headers_of, status_of
from models.errors import DurianError, InvalidInput, InvalidRequest, NotFound

log = logging.getLogger(__name__)


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(DurianError, _durian)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


def answer(request: Request, error: DurianError, status: int | None = None) -> JSONResponse:
    status = status or status_of(error)
    body = body_of(error, status, request.url.path, request.state.request_id)
    return JSONResponse(body, status, headers=headers_of(error))


async def _durian(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, DurianError)  # noqa: S101 (registered for this class; narrows the type)
    return durian(request, error)


def durian(request: Request, error: DurianError) -> JSONResponse:
    """The answer to an error of ours; those that are not the caller's go to the log."""
    status = status_of(error)
    if status >= 500:  # of those, only a 500 is a surprise whose traceback is worth its lines
        trace = error if status == 500 else None
        log.warning("%s %s: %s", request.method, request.url.path, error.code, exc_info=trace)
    return answer(request, error)


async def _validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    place = _place(first["loc"])
    if first["type"] == "json_invalid":
        return answer(
            request, InvalidRequest("The body is not valid JSON.", code="invalid_json", param="body")
        )
    return answer(request, InvalidInput(f"{place}: {_reason(first)}.", code=first["type"], param=place))


def _place(location: tuple[int | str, ...]) -> str:
    parts = [str(part)[:64] for part in location if part not in ("body", "query", "path", "header")]
    return ".".join(parts) or "body"


def _reason(first: dict[str, Any]) -> str:
    # pydantic's own words for these name the expected form; for others they may quote the input.
    return str(first["msg"]) if first["type"] != "value_error" else "the value is not valid"


async def _http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    return http(request, error)


def http(request: Request, error: HTTPException) -> JSONResponse:
    """The answer to a refusal of the framework's, such as of a form with too many parts."""
    if isinstance(error.__cause__, DurianError):
        return answer(request, error.__cause__)
    if error.status_code == 404:
        return answer(request, NotFound("There is nothing at this address; see /docs."))
    response = answer(request, InvalidRequest(str(error.detail)), error.status_code)
    response.headers.update(error.headers or {})
    return response
