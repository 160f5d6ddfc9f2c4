"""Overload: three and ten times what the service can do, by the clock."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import uvloop

from app.demo.service import temporary_service
from tests.benchmarks.drive import Target, drive
from tests.benchmarks.examples import texts
from tests.benchmarks.openloop import Seen, beside, quantile
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import fit, upload

_FACTORS = {3: 70.0, 10: 50.0}
"""Times what it can do -> goodput asked, in per cent of what it can do."""

_CLIENTS = 8
_INPUTS = 1
_SHOTS = 5
_PROBE_SECONDS = 0.05
_IN_TIME = 500.0
_MAX_WAIT = "0.2"


@benchmark("Overload: three and ten times what the service can do")
def overload(setup: Setup) -> Iterator[Row]:
    """One text a request over HTTP on a model over MiniLM. First what eight clients get that each wait for
    their answer; then requests that come by the clock, at three and at ten times that rate, and a probe of
    /health 20 times a second beside them. Generator and service share the machine; times are from when a
    request was due, so the generator's own delay is in them. Goodput: answers within
    half a second, as a share of what the eight clients got just before. DURIAN_MAX_WAIT_SECONDS is 0.2, as it
    is to be set where clients give up after half a second.
    """
    chosen, rest = texts().split(_SHOTS, seed=0)
    with temporary_service(settings={"DURIAN_MAX_WAIT_SECONDS": _MAX_WAIT}) as client:
        model = str(fit(client, upload(client, chosen), "overload").fine_tuned_model)
        url = httpx.URL(client.url)
        bodies = [
            json.dumps({"model": model, "input": rest.inputs[i : i + _INPUTS], "top_k": 1}).encode()
            for i in range(0, len(rest.inputs) - _INPUTS, _INPUTS)
        ]
        target = Target(url.host, int(url.port or 80), "/v1/predictions", bodies)
        for factor, share in _FACTORS.items():
            yield from _storm(setup, target, factor, share)


def _storm(setup: Setup, target: Target, factor: int, share: float) -> Iterator[Row]:
    before = drive(target, _CLIENTS, setup.amount(8, 2))
    able = before.answered / before.seconds
    address, sent = (target.host, target.port), [target.request(body) for body in target.bodies]
    seconds = setup.amount(15, 3)
    probe = b"GET /health HTTP/1.1\r\nhost: t\r\n\r\n"
    seen, probed = uvloop.run(beside(address, sent, factor * able, seconds, probe, _PROBE_SECONDS))
    in_time = sum(1_000 * latency <= _IN_TIME for latency in seen.latencies.get(200, ()))
    how = f"{seconds} s; it can do {able:.0f} a second; {_counts(seen)}"
    name = f"{factor} times"
    yield Row(
        what=f"{name}, goodput", value=100 * in_time / seconds / able, unit="%", at_least=share, how=how
    )
    yield _p99(f"{name}, answered", seen, 200, 500.0)
    yield _p99(f"{name}, refused", seen, 503, 250.0)
    yield _p99(f"{name}, /health", probed, 200, 250.0)
    late = 1_000 * quantile(seen.late, 0.99)
    yield Row(what=f"{name}, 99 % sent within, of when they were due", value=late, unit="ms", digits=0)
    lost = sum(seen.count(status) for status in seen.latencies if status not in (200, 429, 503))
    yield Row(what=f"{name}, neither answered nor refused", value=lost, digits=0, at_most=0)


def _p99(what: str, seen: Seen, status: int, limit: float) -> Row:
    return Row(
        what=f"{what}, 99 % within", value=1_000 * seen.p99(status), unit="ms", digits=0, at_most=limit
    )


def _counts(seen: Seen) -> str:
    return ", ".join(f"{len(found)} x {status}" for status, found in sorted(seen.latencies.items()))
