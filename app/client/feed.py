"""A job's server-sent events: what to ask for next, what each line means, when to stop. No input or output.

The stream format is that of the HTML standard, section 9.2 ("Server-sent events"). Each event of the
job carries its id; the job itself, ended, is the last one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from app.client.call import Call, as_model, path
from app.client.errors import ConnectionFailed, UnexpectedAnswer, WaitTimeout, api_error
from app.client.results import Job, JobEvent
from app.client.retry import BUSY, Retry, describe

LAST = "fine_tuning.job"
SILENCE = 30.0  # seconds without a byte after which the connection is taken for dead


@dataclass(frozen=True)
class Watch:
    """Follow `feed` to its end, giving each event to `on_event`; the result is the ended job."""

    feed: Feed
    on_event: Callable[[JobEvent], object] | None = None


class Feed:
    """One job's events, from after the event `after` until the job has ended.

    It takes as many connections as it needs: each goes on behind the last event that was seen.
    """

    def __init__(self, job_id: str, after: str | None = None, timeout: float | None = None) -> None:
        self.job_id = job_id
        self.last_id = after
        self.job: Job | None = None
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._failures = 0
        self._name = self._data = ""

    @property
    def finished(self) -> bool:
        return self.job is not None

    def result(self) -> Job:
        """The job as it ended; only once the feed is finished."""
        if self.job is None:
            raise AssertionError("the feed has not ended")
        return self.job

    def opening(self) -> Call[Job]:
        """The next connection. Raises WaitTimeout."""
        self._check_time()
        self._name = self._data = ""
        headers = {"accept": "text/event-stream"}
        if self.last_id is not None:
            headers["last-event-id"] = self.last_id
        url = path("/v1/fine_tuning/jobs/{}/events", self.job_id)
        return Call("GET", url, as_model(Job), headers=headers)

    def silence(self) -> float:
        """Seconds that the stream may be silent."""
        if self._deadline is None:
            return SILENCE
        return min(SILENCE, max(0.05, self._deadline - time.monotonic()))

    def take(self, line: str) -> JobEvent | None:
        """Digest one line; give the event that it completes. Raises WaitTimeout or UnexpectedAnswer."""
        self._check_time()
        if not line:
            return self._dispatch()
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data += f"\n{value}" if self._data else value
        elif name == "event":
            self._name = value
        return None

    def _dispatch(self) -> JobEvent | None:
        name, data = self._name, self._data
        self._name = self._data = ""
        if not data:
            return None
        try:
            if name == LAST:
                self.job = Job.model_validate_json(data)
                return None
            event = JobEvent.model_validate_json(data)
        except ValueError as error:
            raise UnexpectedAnswer("The job's event stream holds what is no event.") from error
        self.last_id = event.id
        self._failures = 0
        return event

    def ended(self, retry: Retry) -> float:
        """The stream closed: seconds to wait before the next, if not finished. Raises ConnectionFailed."""
        if self.finished:
            return 0.0
        if self._failures >= retry.attempts:
            raise ConnectionFailed("The job's event stream ends again and again before the job does.")
        return self._pause(retry)

    def refused(self, response: httpx.Response, retry: Retry) -> float:
        """The service answered with an error: seconds to wait. Raises ApiError."""
        if response.status_code not in BUSY or self._failures >= retry.attempts:
            raise api_error(response)
        return self._pause(retry, response)

    def broken(self, error: httpx.TransportError, retry: Retry) -> float:
        """The connection broke: seconds to wait. Raises ConnectionFailed or WaitTimeout."""
        self._check_time()
        if self._failures >= retry.attempts:
            raise ConnectionFailed(describe(error)) from error
        return self._pause(retry)

    def _pause(self, retry: Retry, response: httpx.Response | None = None) -> float:
        pause = retry.pause(self._failures, response)
        self._failures += 1
        return pause

    def _check_time(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise WaitTimeout(f"Job {self.job_id} is still running; it goes on without you.")
