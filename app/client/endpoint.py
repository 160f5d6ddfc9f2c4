"""Methods that describe a call, and send it when they are called.

A method under `@endpoint` returns a `Call[T]`. Seen on a resource of the blocking client it gives T, on
one of the asynchronous client an awaitable of T: each method is written once, for both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import update_wrapper
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from app.client.call import Call
from app.client.drivers import AsyncDriver, SyncDriver
from app.client.feed import Feed, Watch
from app.client.results import Job, JobEvent

D = TypeVar("D", bound=SyncDriver | AsyncDriver)
P = ParamSpec("P")
T = TypeVar("T")
Events = Iterator[JobEvent]
AsyncEvents = AsyncIterator[JobEvent]


class Resource(Generic[D]):
    """A group of endpoints, on a driver."""

    def __init__(self, driver: D) -> None:
        self.driver = driver


class _Described(Generic[P, T]):
    """A descriptor around a method that describes something and leaves the sending to the driver."""

    def __init__(self, describe: Callable[Concatenate[Any, P], T]) -> None:
        self.describe = describe
        self.__doc__ = describe.__doc__

    def _bind(self, resource: Resource[Any], send: Callable[[T], Any]) -> Callable[P, Any]:
        def method(*args: P.args, **kwargs: P.kwargs) -> Any:
            return send(self.describe(resource, *args, **kwargs))

        return update_wrapper(method, self.describe)


class endpoint(_Described[P, Call[T]]):  # noqa: N801 (used as a decorator)
    """One request, one answer."""

    @overload
    def __get__(self, resource: Resource[SyncDriver], owner: Any = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, resource: Resource[AsyncDriver], owner: Any = None) -> Callable[P, Awaitable[T]]: ...
    def __get__(self, resource: Resource[Any], owner: Any = None) -> Callable[P, Any]:
        return self._bind(resource, resource.driver.call)


class stream(_Described[P, Feed]):  # noqa: N801
    """An iterator of events."""

    @overload
    def __get__(
        self, resource: Resource[SyncDriver], owner: Any = None
    ) -> Callable[P, Iterator[JobEvent]]: ...
    @overload
    def __get__(
        self, resource: Resource[AsyncDriver], owner: Any = None
    ) -> Callable[P, AsyncIterator[JobEvent]]: ...
    def __get__(self, resource: Resource[Any], owner: Any = None) -> Callable[P, Any]:
        return self._bind(resource, resource.driver.stream)


class watch(_Described[P, Watch]):  # noqa: N801
    """Follow a job to its end."""

    @overload
    def __get__(self, resource: Resource[SyncDriver], owner: Any = None) -> Callable[P, Job]: ...
    @overload
    def __get__(self, resource: Resource[AsyncDriver], owner: Any = None) -> Callable[P, Awaitable[Job]]: ...
    def __get__(self, resource: Resource[Any], owner: Any = None) -> Callable[P, Any]:
        return self._bind(resource, resource.driver.watch)
