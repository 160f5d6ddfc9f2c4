"""`python -m tests.soak [--seconds 7200] [--workers 1]`."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from dataclasses import asdict
from pathlib import Path

from tests.serving import served
from tests.soak.load import Seen, rest, users
from tests.soak.watch import Sample, Watch, growth, verdict

_REST_SECONDS = 150.0
_SAMPLES = 240
_SETTINGS = {"DURIAN_MAX_FEATURES_BYTES": str(64 << 20)}  # so little that it is full in minutes


def soak(seconds: float, workers: int, folder: Path) -> tuple[Seen, list[Sample]]:
    """The load on a service of its own; samples go to `folder`/samples.jsonl as they are taken."""
    data = folder / "data"
    data.mkdir(parents=True)
    seen, stop = Seen(), threading.Event()
    samples: list[Sample] = []
    with (
        served(data, _SETTINGS, "--workers", str(workers)) as service,
        (folder / "samples.jsonl").open("w") as out,
    ):
        everybody = users(service.url, seen, stop)
        watch = Watch(service.process.pid, data)
        started = time.monotonic()
        for user in everybody:
            user.start()
        while (elapsed := time.monotonic() - started) < seconds:
            samples.append(watch.sample(elapsed))
            out.write(json.dumps(asdict(samples[-1])) + "\n")
            out.flush()
            time.sleep(max(1.0, seconds / _SAMPLES))
        rest(everybody, stop, _REST_SECONDS)
        samples.append(watch.sample(time.monotonic() - started))
    return seen, samples


def summary(seen: Seen, samples: list[Sample]) -> str:
    found = growth(samples)
    counts = ", ".join(f"{n:,} {what}" for what, n in sorted(seen.counts.items()))
    first, last = samples[0].megabytes, samples[-1].megabytes
    return (
        f"{samples[-1].seconds:,.0f} s; {counts}\n"
        f"memory {first:.0f} MB at first, {last:.0f} MB in the end; after the warm-up "
        f"{found.megabytes:+.0f} MB, {found.slope:+.1f} MB an hour; {found.files:+.0f} open files, "
        f"{found.threads:+.0f} threads; disk {found.disk_mb:+.0f} MB"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=7200.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="keep data, log and samples here")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="durian-soak-"))
    seen, samples = soak(asked.seconds, asked.workers, folder)
    print(summary(seen, samples))
    wrong = [*seen.wrong, *verdict(samples)]
    for line in wrong[:20]:
        print(f"VIOLATION {line}")
    print(f"{len(wrong)} violations")
    if wrong:
        print(f"kept: {folder}", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
