"""Which HTTP status each error means. The only place where errors meet HTTP."""

from __future__ import annotations

from typing import Any

from models import errors

STATUS: dict[type[errors.DurianError], int] = {
    errors.InvalidRequest: 400,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.UnsupportedMedia: 415,
    errors.InvalidInput: 422,
    errors.RateLimited: 429,
    errors.JobFailed: 500,
    errors.CorruptArtefact: 503,
    errors.Unavailable: 503,
    errors.DeadlineExceeded: 504,
    errors.InsufficientStorage: 507,
}

_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


def status_of(error: errors.DurianError) -> int:
    """The status of the nearest class in the table."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)


def headers_of(error: errors.DurianError) -> dict[str, str]:
    """`Retry-After` where the error says when to come back."""
    retry_after = getattr(error, "retry_after", None)
    return {} if retry_after is None else {"retry-after": str(retry_after)}


def body_of(error: errors.DurianError, status: int, path: str, request_id: str) -> dict[str, Any]:
    """The JSON body: OpenAI's shape under /v1, the Open Inference Protocol's under /v2."""
    if path.startswith("/v2"):
        return {"error": error.message}
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "error": {
            "message": error.message,
            "type": kind,
            "param": error.param,
            "code": error.code,
            "request_id": request_id,
        }
    }
