"""`Client` and `AsyncClient`: the resources over one driver each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Literal, Self

import httpx

from app.client.call import Call, as_model
from app.client.drivers import AsyncDriver, SyncDriver
from app.client.endpoint import D, Resource, endpoint
from app.client.inputs import Input, all_raw, batch, json_value, part
from app.client.jobs import Jobs
from app.client.resources import Backbones, Datasets, Files, Models
from app.client.results import Embeddings, Health, Method, Page, Predictions, Recommendation
from app.client.retry import Retry

DEFAULT_URL = "http://127.0.0.1:8000"
_RECOMMENDING = 150.0  # seconds that the service may take for features that are not cached yet


class _Api(Resource[D]):
    """Everything the service offers."""

    def __init__(self, driver: D) -> None:
        super().__init__(driver)
        self.files = Files(driver)
        self.datasets = Datasets(driver)
        self.jobs = Jobs(driver)
        self.models = Models(driver)
        self.backbones = Backbones(driver)

    @endpoint
    def methods(self) -> Call[Page[Method]]:
        """Every transfer method, with the JSON schema of its hyperparameters."""
        return Call("GET", "/v1/fine_tuning/methods", as_model(Page[Method]))

    @endpoint
    def predict(
        self,
        model: str,
        input: Input | Sequence[Input],
        *,
        top_k: int | None = None,
        return_embedding: bool = False,
    ) -> Call[Predictions]:
        """Predictions for one input or several; `.data` follows their order."""
        options: dict[str, Any] = {
            "model": model,
            "top_k": top_k,
            "return_embedding": return_embedding or None,
        }
        sent = {name: value for name, value in options.items() if value is not None}
        values = batch(input)
        if all_raw(values):
            data = {name: str(value).lower() if value is True else str(value) for name, value in sent.items()}
            files = [part("file", value) for value in values]
            return Call("POST", "/v1/predictions", as_model(Predictions), data=data, files=files)
        body = {**sent, "input": [json_value(value) for value in values]}
        return Call("POST", "/v1/predictions", as_model(Predictions), json=body)

    @endpoint
    def embeddings(
        self,
        model: str,
        input: Input | Sequence[Input],
        *,
        encoding_format: Literal["float", "base64"] = "float",
    ) -> Call[Embeddings]:
        """A backbone's embeddings of one input or several."""
        values = [json_value(value) for value in batch(input)]
        body = {"model": model, "input": values, "encoding_format": encoding_format}
        return Call("POST", "/v1/embeddings", as_model(Embeddings), json=body)

    @endpoint
    def recommend(self, training_file: str, *, unlabelled_file: str | None = None) -> Call[Recommendation]:
        """Before training: which backbones and taps suit a file or dataset, and which setting this is."""
        body = {"training_file": training_file, "unlabelled_file": unlabelled_file}
        sent = {name: value for name, value in body.items() if value is not None}
        return Call("POST", "/v1/recommendations", as_model(Recommendation), json=sent, wait=_RECOMMENDING)

    @endpoint
    def health(self) -> Call[Health]:
        """Whether the service is ready; a service that answers that it is not is no error."""
        return Call("GET", "/v2/health/ready", as_model(Health), tolerated=frozenset({503}))


def _options(url: str | None, key: str | None) -> dict[str, Any]:
    base = httpx.URL(url or os.environ.get("DURIAN_URL") or DEFAULT_URL)
    key = key or os.environ.get("DURIAN_API_KEY")
    return {
        "base_url": base,
        "headers": {"authorization": f"Bearer {key}"} if key else {},
        # A proxy set for the outside world would swallow requests to this machine.
        "trust_env": base.host not in ("127.0.0.1", "localhost", "::1"),
    }


class Client(_Api[SyncDriver]):
    """The blocking client. `url` defaults to DURIAN_URL, `key` to DURIAN_API_KEY; `timeout` is in seconds.

    Its methods raise `ApiError` or `ConnectionFailed`, both of `ClientError`.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        retry: Retry = Retry(),
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(transport=transport, **_options(url, key))
        super().__init__(SyncDriver(self._http, retry, timeout))

    @property
    def url(self) -> str:
        """Address of the service."""
        return str(self._http.base_url).rstrip("/")

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Api[AsyncDriver]):
    """The asynchronous client: the same methods and arguments as `Client`."""

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        timeout: float = 60.0,
        retry: Retry = Retry(),
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(transport=transport, **_options(url, key))
        super().__init__(AsyncDriver(self._http, retry, timeout))

    @property
    def url(self) -> str:
        """Address of the service."""
        return str(self._http.base_url).rstrip("/")

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
