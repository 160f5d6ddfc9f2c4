"""One tenant's load, and what another one feels of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import httpx
import uvloop

from app.client import Client
from app.db.database import Database
from app.demo.service import temporary_service
from app.services.keys import Keys
from app.settings import Settings
from tests.benchmarks.drive import Drive, Target, drive
from tests.benchmarks.examples import texts
from tests.benchmarks.openloop import Seen, quantile, storm
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import fit, spread, upload

_NOISY_CLIENTS = 32
_STORM = 3.0
_QUIET_SHARE = 0.1
_ASKED = 2.0
_LEAD_SECONDS = 1.0
_TENANTS = ("quiet", "noisy")
_ELSEWHERE = "127.0.0.2"
_SHOTS = 5


@benchmark("Neighbour: one tenant's load, and what another one feels of it")
def neighbour(setup: Setup) -> Iterator[Row]:
    """Two tenants, each with a model over MiniLM, one text a request. The quiet one asks by the clock, at
    random moments, for a tenth of what the service can do: alone, beside 32 clients of the noisy one that
    each wait for their answer, and beside requests of the noisy one by the clock, at three times what the
    service can do and from another address; in turns, the latencies of all rounds together. A tenant that
    was away for over a second first waits for one full batch: that is not in them. For information, quiet
    clients that wait for their answers: eight of them want more than half of the machine, and half of it
    takes each twice its time in the mean, so nothing is asked of their 99 %. Generators and service share
    the machine.
    """
    keys: dict[str, str] = {}

    def prepare(data: Path) -> None:
        settings = Settings(data=data)
        data.mkdir(parents=True, exist_ok=True)
        db = Database(settings.database_url)
        db.migrate()
        keys.update((tenant, Keys(db, settings.pepper_file).create(tenant, "writer")) for tenant in _TENANTS)
        db.close()

    with temporary_service(prepare) as client:
        quiet, noisy = (_target(client.url, keys[tenant]) for tenant in _TENANTS)
        yield from _by_the_clock(setup, quiet, noisy)
        for clients in (8, 1):
            yield from _closed(setup, quiet, noisy, clients)


def _target(url: str, key: str) -> Target:
    chosen, rest = texts().split(_SHOTS, seed=0)
    with Client(url, key=key) as client:
        model = fit(client, upload(client, chosen), "neighbour").fine_tuned_model
    bodies = [json.dumps({"model": model, "input": text, "top_k": 1}).encode() for text in rest.inputs]
    address = httpx.URL(url)
    return Target(address.host, int(address.port or 80), "/v1/predictions", bodies, key=key)


@dataclass
class Rounds:
    """What the quiet tenant saw by the clock, all rounds together, and what its neighbour got a second."""

    alone: Seen = field(default_factory=Seen)
    clients: Seen = field(default_factory=Seen)
    storm: Seen = field(default_factory=Seen)
    noisy_alone: list[float] = field(default_factory=list)
    noisy_beside: list[float] = field(default_factory=list)


def _by_the_clock(setup: Setup, quiet: Target, noisy: Target) -> Iterator[Row]:
    before = drive(quiet, 8, setup.amount(4, 2))
    able = _rate(before)
    seen, seconds = Rounds(), setup.amount(5, 2)
    for _ in range(setup.amount(5, 1)):
        _round(seen, quiet, noisy, able, seconds)
    rate = f"{_QUIET_SHARE * able:.0f} of {able:.0f} a second"
    for what, beside in ((f"{_NOISY_CLIENTS} noisy clients", seen.clients), ("a noisy storm", seen.storm)):
        yield from _ratios(f"by the clock, beside {what} / alone", seen.alone, beside, rate)
    kept = [100 * beside / alone for alone, beside in zip(seen.noisy_alone, seen.noisy_beside, strict=True)]
    how = f"median; {median(seen.noisy_beside):.0f} against {median(seen.noisy_alone):.0f} a second"
    what = f"{_NOISY_CLIENTS} noisy clients get beside the quiet tenant / alone"
    yield Row(what=what, value=median(kept), unit="%", how=f"{how}; {spread(kept, 0)}")


def _round(seen: Rounds, quiet: Target, noisy: Target, able: float, seconds: float) -> None:
    rate, noise = _QUIET_SHARE * able, seconds + 2 * _LEAD_SECONDS

    async def both() -> Seen:
        address, asked = (noisy.host, noisy.port), _requests(noisy)
        storming = storm(address, asked, _STORM * able, noise, _ELSEWHERE)
        return (await asyncio.gather(_asking(quiet, rate, seconds), storming))[0]

    seen.alone += uvloop.run(_asking(quiet, rate, seconds))
    seen.noisy_alone.append(_rate(drive(noisy, _NOISY_CLIENTS, seconds)))
    with ThreadPoolExecutor(1) as pool:
        noisy_drive = pool.submit(drive, noisy, _NOISY_CLIENTS, seconds + _LEAD_SECONDS)
        seen.clients += uvloop.run(_asking(quiet, rate, seconds))
        seen.noisy_beside.append(_rate(noisy_drive.result()))
    seen.storm += uvloop.run(both())


async def _asking(quiet: Target, rate: float, seconds: float) -> Seen:
    """By the clock, after a second of the same in which the noise begins and the tenant is no newcomer."""
    address, asked = (quiet.host, quiet.port), _requests(quiet)
    await storm(address, asked, rate, _LEAD_SECONDS)
    return await storm(address, asked, rate, seconds)


def _requests(target: Target) -> list[bytes]:
    return [target.request(body) for body in target.bodies]


def _rate(seen: Drive) -> float:
    return seen.answered / seen.seconds


def _ratios(what: str, alone: Seen, beside: Seen, rate: str) -> Iterator[Row]:
    for share, words, limit in ((0.5, "half", None), (0.99, "99 %", _ASKED)):
        ours, theirs = (1_000 * quantile(seen.latencies.get(200, ()), share) for seen in (beside, alone))
        yield Row(
            what=f"{what}, {words} within",
            value=ours / theirs,
            digits=2,
            at_most=limit,
            how=f"{rate}; {ours:.0f} ms against {theirs:.0f} ms; {beside.count(200)} requests",
        )
    refused = sum(map(len, beside.latencies.values())) - beside.count(200)
    yield Row(what=f"{what}, not answered", value=refused, digits=0, at_most=0)


def _closed(setup: Setup, quiet: Target, noisy: Target, clients: int) -> Iterator[Row]:
    seconds = setup.amount(5, 2)
    pairs = [
        (drive(quiet, clients, seconds), _beside(quiet, noisy, clients, seconds))
        for _ in range(setup.amount(2, 1))
    ]
    what = f"{clients} quiet client{'s' * (clients > 1)}, beside {_NOISY_CLIENTS} noisy ones / alone"
    for name, words in (("p50", "half"), ("p99", "99 %")):
        alone, beside = (median(getattr(pair[i], name) for pair in pairs) for i in (0, 1))
        ratios = [getattr(one, name) / getattr(other, name) for other, one in pairs]
        how = f"median; {beside:.0f} ms against {alone:.0f} ms; {spread(ratios, 2)}"
        yield Row(what=f"{what}, {words} within", value=median(ratios), digits=2, how=how)


def _beside(quiet: Target, noisy: Target, clients: int, seconds: float) -> Drive:
    with ThreadPoolExecutor(1) as pool:
        noise = pool.submit(drive, noisy, _NOISY_CLIENTS, seconds + 2 * _LEAD_SECONDS)
        _lead(quiet)
        seen = drive(quiet, clients, seconds)
        noise.result()
    return seen


def _lead(quiet: Target) -> None:
    """A second in which the noise begins."""
    drive(replace(quiet, bodies=quiet.bodies[:8]), 1, _LEAD_SECONDS)
