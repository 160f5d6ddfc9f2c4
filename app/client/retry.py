"""When a call is sent again, and after how long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import httpx

from app.client.call import Call
from app.client.errors import ConnectionFailed

BUSY = frozenset({429, 503})


@dataclass(frozen=True)
class Retry:
    """Up to `attempts` repetitions, `backoff` seconds doubling, never longer than `longest` seconds.

    429 and 503 are answered before anything was done, so every call may follow their `Retry-After`;
    after a broken connection only a repeatable call is sent again.
    """

    attempts: int = 3
    backoff: float = 0.2
    longest: float = 20.0

    def after_answer(self, call: Call[Any], attempt: int, response: httpx.Response) -> float | None:
        """Seconds to wait before sending `call` again, or None to take the answer as it is."""
        status = response.status_code
        if status not in BUSY or status in call.tolerated or attempt >= self.attempts:
            return None
        return self.pause(attempt, response)

    def after_error(self, call: Call[Any], attempt: int, error: httpx.TransportError) -> float:
        """Seconds to wait before sending `call` again. Raises ConnectionFailed."""
        if attempt >= self.attempts or not call.repeatable:
            raise ConnectionFailed(describe(error)) from error
        return self.pause(attempt)

    def pause(self, attempt: int, response: httpx.Response | None = None) -> float:
        """What `Retry-After` says, else the doubling pause; bounded."""
        pause = self.backoff * 2.0**attempt
        if response is not None:
            pause = _seconds(response.headers.get("retry-after"), pause)
        return min(pause, self.longest)


def _seconds(value: str | None, default: float) -> float:
    try:
        return max(0.0, float(value or ""))
    except ValueError:
        return default


def describe(error: httpx.TransportError) -> str:
    """The failure in words, with the service's address."""
    where = ""
    try:
        url = error.request.url
        where = f" at {url.scheme}://{url.netloc.decode('ascii')}"
    except RuntimeError:  # httpx: the error knows no request
        pass
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return f"No Durian service answers{where}. Start one with `durian serve`, or set DURIAN_URL."
    if isinstance(error, httpx.TimeoutException):
        return f"The Durian service{where} did not answer in time."
    return f"The connection to the Durian service{where} broke."
