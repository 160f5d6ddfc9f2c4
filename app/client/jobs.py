"""Fine-tuning jobs: each endpoint once, for both clients."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from app.client.call import Call, as_model, path, prefer
from app.client.endpoint import D, Resource, endpoint, stream, watch
from app.client.feed import Feed, Watch
from app.client.results import Checkpoint, Job, JobEvent, Page

JOBS = "/v1/fine_tuning/jobs"


def _method(name: str | None, hyperparameters: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if name is None:
        return None
    return {"type": name} | ({name: {"hyperparameters": dict(hyperparameters)}} if hyperparameters else {})


class Jobs(Resource[D]):
    """`/v1/fine_tuning/jobs`."""

    @endpoint
    def create(
        self,
        model: str,
        training_file: str,
        *,
        validation_file: str | None = None,
        unlabelled_file: str | None = None,
        suffix: str | None = None,
        method: str | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        seed: int | None = None,
        metadata: Mapping[str, str] | None = None,
        idempotency_key: str | None = None,
        wait: float | None = None,
    ) -> Call[Job]:
        """Start a job on a backbone, a model or `auto`; with `wait`, answer when it ends or after so long.

        Without an `idempotency_key` of yours one is made, so that a repetition by this client never
        starts a second job. `hyperparameters` are those of `method`.
        """
        body = {
            "model": model,
            "training_file": training_file,
            "validation_file": validation_file,
            "unlabelled_file": unlabelled_file,
            "suffix": suffix,
            "method": _method(method, hyperparameters),
            "seed": seed,
            "metadata": metadata,
        }
        return Call(
            "POST",
            JOBS,
            as_model(Job),
            headers={"idempotency-key": idempotency_key or uuid.uuid4().hex, **prefer(wait)},
            json={name: value for name, value in body.items() if value is not None},
            wait=wait or 0.0,
        )

    @endpoint
    def retrieve(self, job_id: str) -> Call[Job]:
        """One job."""
        return Call("GET", path(JOBS + "/{}", job_id), as_model(Job))

    @endpoint
    def list(
        self,
        *,
        after: str | None = None,
        limit: int | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Call[Page[Job]]:
        """Jobs, newest first; with `metadata`, those that carry these pairs."""
        wanted = {f"metadata[{name}]": value for name, value in (metadata or {}).items()}
        return Call("GET", JOBS, as_model(Page[Job]), params={"after": after, "limit": limit, **wanted})

    @endpoint
    def cancel(self, job_id: str) -> Call[Job]:
        """Stop a job; what it made is thrown away."""
        return Call("POST", path(JOBS + "/{}/cancel", job_id), as_model(Job))

    @endpoint
    def events(
        self, job_id: str, *, after: str | None = None, limit: int | None = None
    ) -> Call[Page[JobEvent]]:
        """One page of the job's events."""
        params = {"after": after, "limit": limit}
        return Call("GET", path(JOBS + "/{}/events", job_id), as_model(Page[JobEvent]), params=params)

    @endpoint
    def checkpoints(self, job_id: str) -> Call[Page[Checkpoint]]:
        """The job's callable states."""
        return Call("GET", path(JOBS + "/{}/checkpoints", job_id), as_model(Page[Checkpoint]))

    @endpoint
    def report(self, job_id: str) -> Call[dict[str, Any]]:
        """The estimate and everything it rests on."""
        return Call("GET", path(JOBS + "/{}/report", job_id), _json)

    @endpoint
    def report_html(self, job_id: str) -> Call[str]:
        """The report as a page with plots."""
        headers = {"accept": "text/html"}
        return Call("GET", path(JOBS + "/{}/report", job_id), lambda response: response.text, headers=headers)

    @stream
    def stream(self, job_id: str, *, after: str | None = None) -> Feed:
        """Events as they come, until the job ends; reconnects where the connection breaks."""
        return Feed(job_id, after)

    @watch
    def wait(
        self,
        job_id: str,
        on_event: Callable[[JobEvent], object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Watch:
        """Follow a job to its end and return it, however it ended. Raises WaitTimeout after `timeout` s."""
        return Watch(Feed(job_id, timeout=timeout), on_event)


def _json(response: httpx.Response) -> dict[str, Any]:
    body: dict[str, Any] = response.json()
    return body
