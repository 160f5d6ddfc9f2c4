"""How long a client waits: `X-Request-Timeout` in seconds, and the Open Inference Protocol's `timeout`."""

from __future__ import annotations

import math
import time

from starlette.types import Scope

from app.api.fields import field
from models.errors import InvalidRequest

HEADER = b"x-request-timeout"


def deadline_of(scope: Scope, timeout_us: int = 0) -> float | None:
    """The earlier of both, as a time of `time.monotonic`; None where the client waits for ever.

    Raises InvalidRequest for a header that is no number above 0.
    """
    limits = [timeout_us / 1e6] if timeout_us else []
    text = field(scope, HEADER)
    if text is not None:
        limits.append(_seconds(text))
    return time.monotonic() + min(limits) if limits else None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:  # false for NaN
        message = "X-Request-Timeout is a number of seconds above 0, such as 1.5."
        raise InvalidRequest(message, param="X-Request-Timeout")
    return seconds
