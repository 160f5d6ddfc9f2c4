"""OpenTelemetry traces, where they are installed (extra `otel`) and an exporter is configured.

Everywhere else `span` costs one look at an attribute. A job's row carries the trace of the request that made
it, so that upload, job, publication and prediction are one trace for a client that sends `traceparent`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_NAME = "durian"
_NOTHING: AbstractContextManager[Any] = nullcontext()


class Tracing:
    """`on` once there is a tracer."""

    def __init__(self) -> None:
        self._tracer: Any = None
        self.on = False

    def use(self, provider: Any) -> None:
        """Make spans with this tracer provider; None: no more."""
        self._tracer = None if provider is None else provider.get_tracer(_NAME)
        self.on = provider is not None

    def span(
        self, name: str, parent: Mapping[str, str] | None = None, **attributes: str | int
    ) -> AbstractContextManager[Any]:
        """A span around a block, below the current one or below a `carrier` of another process."""
        if not self.on:
            return _NOTHING
        from opentelemetry.propagate import extract

        context = extract(dict(parent)) if parent else None
        named = {f"durian.{key}": value for key, value in attributes.items()}
        started: AbstractContextManager[Any] = self._tracer.start_as_current_span(
            name, context=context, attributes=named
        )
        return started

    def carrier(self) -> dict[str, str]:
        """The current span, as text that can be stored."""
        carrier: dict[str, str] = {}
        if self.on:
            from opentelemetry.propagate import inject

            inject(carrier)
        return carrier


TRACING = Tracing()


def configure() -> None:
    """Export over OTLP where the standard variables say where to, and the packages are there."""
    if not any(name.startswith("OTEL_EXPORTER_OTLP") for name in os.environ):
        return
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        return
    provider = TracerProvider(resource=Resource.create({"service.name": _NAME}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    TRACING.use(provider)
