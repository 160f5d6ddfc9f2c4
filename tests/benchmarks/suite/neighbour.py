"""One tenant's load, and what another one feels of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from statistics import median

import httpx

from app.client import Client
from app.db.database import Database
from app.demo.service import temporary_service
from app.services.keys import Keys
from app.settings import Settings
from tests.benchmarks.drive import Drive, Target, drive
from tests.benchmarks.examples import texts
from tests.benchmarks.registry import Setup, benchmark
from tests.benchmarks.results import Row
from tests.benchmarks.service import fit, spread, upload

_NOISY_CLIENTS = 32
_LEAD_SECONDS = 1.0
_TENANTS = ("quiet", "noisy")
_SHOTS = 5


@benchmark("Neighbour: one tenant's load, and what another one feels of it")
def neighbour(setup: Setup) -> Iterator[Row]:
    """Two tenants, each with a model over MiniLM, one text a request. The quiet one's clients wait for their
    answers, alone and beside 32 clients of the noisy one's who do the same, in turns.
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
        for clients, limit in ((8, 2.0), (1, None)):
            yield from _rows(setup, quiet, noisy, clients, limit)


def _target(url: str, key: str) -> Target:
    chosen, rest = texts().split(_SHOTS, seed=0)
    with Client(url, key=key) as client:
        model = fit(client, upload(client, chosen), "neighbour").fine_tuned_model
    bodies = [json.dumps({"model": model, "input": text, "top_k": 1}).encode() for text in rest.inputs]
    address = httpx.URL(url)
    return Target(address.host, int(address.port or 80), "/v1/predictions", bodies, key=key)


def _rows(setup: Setup, quiet: Target, noisy: Target, clients: int, limit: float | None) -> Iterator[Row]:
    seconds = setup.amount(5, 2)
    pairs = [
        (drive(quiet, clients, seconds), _beside(quiet, noisy, clients, seconds))
        for _ in range(setup.amount(5, 1))
    ]
    what = f"{clients} client{'s' * (clients > 1)} of the quiet tenant"
    for name in ("p50", "p99"):
        alone, beside = (median(getattr(pair[i], name) for pair in pairs) for i in (0, 1))
        ratios = [getattr(one, name) / getattr(other, name) for other, one in pairs]
        share = "half" if name == "p50" else "99 %"
        yield Row(
            what=f"{what}, {share} within, beside a noisy one / alone",
            value=median(ratios),
            digits=2,
            at_most=limit if name == "p99" else None,
            how=f"median; {beside:.0f} ms against {alone:.0f} ms; {spread(ratios, 2)}",
        )


def _beside(quiet: Target, noisy: Target, clients: int, seconds: float) -> Drive:
    with ThreadPoolExecutor(1) as pool:
        noise = pool.submit(drive, noisy, _NOISY_CLIENTS, seconds + 2 * _LEAD_SECONDS)
        drive(replace(quiet, bodies=quiet.bodies[:8]), 1, _LEAD_SECONDS)
        seen = drive(quiet, clients, seconds)
        noise.result()
    return seen
