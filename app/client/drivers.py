"""The two ways to send a `Call`: blocking, and awaiting. All decisions lie in `Call`, `Retry` and `Feed`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import TypeVar

import httpx

from app.client.call import Call
from app.client.feed import Feed, Watch
from app.client.results import Job, JobEvent
from app.client.retry import Retry

T = TypeVar("T")


class SyncDriver:
    """Sends calls and blocks until the answer."""

    def __init__(self, http: httpx.Client, retry: Retry, timeout: float) -> None:
        self.http = http
        self.retry = retry
        self.timeout = timeout

    def call(self, call: Call[T]) -> T:
        for attempt in count():
            try:
                response = self.http.send(self.http.build_request(**call.arguments(self.timeout)))
            except httpx.TransportError as error:
                pause = self.retry.after_error(call, attempt, error)
            else:
                again = self.retry.after_answer(call, attempt, response)
                if again is None:
                    return call.result(response)
                pause = again
            time.sleep(pause)
        raise AssertionError("count() has no end")

    def stream(self, feed: Feed) -> Iterator[JobEvent]:
        while not feed.finished:
            request = self.http.build_request(**feed.opening().arguments(feed.silence()))
            try:
                response = self.http.send(request, stream=True)
                try:
                    if response.is_error:
                        response.read()
                        pause = feed.refused(response, self.retry)
                    else:
                        yield from filter(None, map(feed.take, response.iter_lines()))
                        pause = feed.ended(self.retry)
                finally:
                    response.close()
            except httpx.TransportError as error:
                pause = feed.broken(error, self.retry)
            time.sleep(pause)

    def watch(self, watch: Watch) -> Job:
        for event in self.stream(watch.feed):
            if watch.on_event is not None:
                watch.on_event(event)
        return watch.feed.result()


class AsyncDriver:
    """Sends calls and awaits the answer."""

    def __init__(self, http: httpx.AsyncClient, retry: Retry, timeout: float) -> None:
        self.http = http
        self.retry = retry
        self.timeout = timeout

    async def call(self, call: Call[T]) -> T:
        for attempt in count():
            try:
                response = await self.http.send(self.http.build_request(**call.arguments(self.timeout)))
            except httpx.TransportError as error:
                pause = self.retry.after_error(call, attempt, error)
            else:
                again = self.retry.after_answer(call, attempt, response)
                if again is None:
                    return call.result(response)
                pause = again
            await asyncio.sleep(pause)
        raise AssertionError("count() has no end")

    async def stream(self, feed: Feed) -> AsyncIterator[JobEvent]:
        while not feed.finished:
            request = self.http.build_request(**feed.opening().arguments(feed.silence()))
            try:
                response = await self.http.send(request, stream=True)
                try:
                    if response.is_error:
                        await response.aread()
                        pause = feed.refused(response, self.retry)
                    else:
                        async for line in response.aiter_lines():
                            if (event := feed.take(line)) is not None:
                                yield event
                        pause = feed.ended(self.retry)
                finally:
                    await response.aclose()
            except httpx.TransportError as error:
                pause = feed.broken(error, self.retry)
            await asyncio.sleep(pause)

    async def watch(self, watch: Watch) -> Job:
        async for event in self.stream(watch.feed):
            if watch.on_event is not None:
                watch.on_event(event)
        return watch.feed.result()
