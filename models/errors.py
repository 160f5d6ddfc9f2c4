"""Every error Durian raises on purpose.

DurianError
 ├─ InvalidRequest       the request is malformed
 ├─ InvalidInput         well-formed, but a row, field or value is wrong
 │   └─ UnsupportedMedia   a file of a kind Durian does not read
 ├─ TooLarge             over a stated limit
 ├─ Unauthorized         no key, or a wrong one
 ├─ Forbidden            a key whose role does not reach so far
 ├─ NotFound             absent, or another tenant's
 ├─ Conflict             contradicts what is stored
 ├─ RateLimited          a queue or quota is full; try again later
 ├─ Unavailable          a part of the service is down; try again later
 ├─ DeadlineExceeded     the request's time ran out
 ├─ InsufficientStorage  the disk is full
 ├─ JobFailed            a fine-tuning job that cannot succeed (its own fault)
 └─ CorruptArtefact      bytes that are not what their digest says

`code` is for programs, `message` for people: what was wrong, where, and what to do. A message never
holds raw input, a path or a traceback. `app.errors` maps each class to its HTTP status.
"""

from __future__ import annotations


class DurianError(Exception):
    """Base of all errors raised on purpose."""

    default_code = "error"

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.param = param


class InvalidRequest(DurianError):
    default_code = "invalid_request"


class InvalidInput(DurianError):
    default_code = "invalid_input"


class UnsupportedMedia(InvalidInput):
    default_code = "unsupported_media"


class TooLarge(DurianError):
    default_code = "too_large"


class Unauthorized(DurianError):
    default_code = "invalid_api_key"


class Forbidden(DurianError):
    default_code = "forbidden"


class NotFound(DurianError):
    default_code = "not_found"


class Conflict(DurianError):
    default_code = "conflict"


class RateLimited(DurianError):
    """`retry_after`: whole seconds until it is worth another try."""

    default_code = "rate_limited"

    def __init__(
        self, message: str, *, code: str | None = None, param: str | None = None, retry_after: int = 1
    ) -> None:
        super().__init__(message, code=code, param=param)
        self.retry_after = retry_after


class Unavailable(DurianError):
    default_code = "unavailable"
    retry_after = 1


class DeadlineExceeded(DurianError):
    default_code = "deadline_exceeded"


class InsufficientStorage(DurianError):
    default_code = "insufficient_storage"


class JobFailed(DurianError):
    default_code = "training_failed"


class CorruptArtefact(DurianError):
    default_code = "corrupt_artefact"
