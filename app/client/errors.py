"""What the client raises.

ClientError
 ├─ ConnectionFailed       no answer from the service
 ├─ UnexpectedAnswer       an answer this client does not understand
 ├─ WaitTimeout            the job is still running
 └─ ApiError               the service answered with an error
     ├─ BadRequest           400 and other 4xx: malformed, wrong input, too large
     ├─ AuthenticationError  401
     ├─ PermissionDenied     403
     ├─ NotFound             404
     ├─ Conflict             409
     ├─ RateLimited          429, after the retries
     └─ ServerError          5xx
         └─ Unavailable        503, after the retries
"""

from __future__ import annotations

from typing import Any

import httpx


class ClientError(Exception):
    """Base of everything this client raises on purpose."""


class ConnectionFailed(ClientError):
    """The service could not be reached, or did not answer in time."""


class UnexpectedAnswer(ClientError):
    """The answer is not what this client expects: another version of the service, or another service."""


class WaitTimeout(ClientError, TimeoutError):
    """The job had not ended when the time given to `wait` was over."""


class ApiError(ClientError):
    """An error answer: `status`, `code` for programs, `message` for people, the `param` at fault."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id


class BadRequest(ApiError):
    """400, 413, 415, 422: the request or its input is wrong."""


class AuthenticationError(ApiError):
    """401: no key, or a wrong one."""


class PermissionDenied(ApiError):
    """403: the key's role does not reach so far."""


class NotFound(ApiError):
    """404: absent, or another tenant's."""


class Conflict(ApiError):
    """409: contradicts what is stored."""


class RateLimited(ApiError):
    """429: a queue or quota is full."""


class ServerError(ApiError):
    """5xx: the service failed."""


class Unavailable(ServerError):
    """503: a part of the service is down."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: AuthenticationError,
    403: PermissionDenied,
    404: NotFound,
    409: Conflict,
    429: RateLimited,
    503: Unavailable,
}


def api_error(response: httpx.Response) -> ApiError:
    """The error that an answer of status >= 400 stands for (`/v1` and `/v2` bodies alike)."""
    detail = _detail(response)
    kind = _BY_STATUS.get(response.status_code) or (
        ServerError if response.status_code >= 500 else BadRequest
    )
    return kind(
        detail.get("message") or f"The service answered {response.status_code}.",
        status=response.status_code,
        code=detail.get("code"),
        param=detail.get("param"),
        request_id=detail.get("request_id") or response.headers.get("x-request-id"),
    )


def _detail(response: httpx.Response) -> dict[str, Any]:
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {"message": str(error)}
