"""The Python client, blocking and asynchronous.

    from app.client import Client

    with Client() as durian:
        file = durian.files.create("intents.jsonl")
        job = durian.jobs.wait(durian.jobs.create("text/minilm-l6", file.id).id)
        print(durian.predict(job.fine_tuned_model, "where is my parcel").data[0].label)

`AsyncClient` has the same methods, to be awaited (`jobs.stream`: `async for`).
"""

from app.client.clients import AsyncClient, Client
from app.client.errors import (
    ApiError,
    AuthenticationError,
    BadRequest,
    ClientError,
    Conflict,
    ConnectionFailed,
    NotFound,
    PermissionDenied,
    RateLimited,
    ServerError,
    Unavailable,
    UnexpectedAnswer,
    WaitTimeout,
)

__all__ = [
    "ApiError",
    "AsyncClient",
    "AuthenticationError",
    "BadRequest",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "NotFound",
    "PermissionDenied",
    "RateLimited",
    "ServerError",
    "Unavailable",
    "UnexpectedAnswer",
    "WaitTimeout",
]
