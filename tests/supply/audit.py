"""`python -m tests.supply.audit`: is any pinned package known to be vulnerable?

pip-audit ends well after it has skipped everything, so its word is not taken: every pin must have been looked
up, and a canary, a version that is known to be bad, must be found. Ends with 1 where a pin is bad, with 2
where that could not be found out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.supply.locks import LOCKS, read

CANARY = "jinja2==2.11.2"
"""CVE-2020-28493 and others."""

_SECONDS = 600
Ask = Callable[[Path], "list[dict[str, Any]]"]
"""From a requirements file to what is known of each of its packages."""


class NotAudited(Exception):
    """It could not be found out; the message says why."""


def ask(requirements: Path) -> list[dict[str, Any]]:
    """By pip-audit, which asks PyPI's advisories. Raises NotAudited."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--disable-pip", "--no-deps", "-f", "json"]
    try:
        done = subprocess.run(
            [*command, "--progress-spinner", "off", "-r", str(requirements)],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise NotAudited(f"{requirements.name}: no answer within {_SECONDS} s") from None
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no word of it"])[-1]
        raise NotAudited(f"{requirements.name}: pip-audit gave no result ({last[:300]})") from None
    return found


def bad_pins(lock: Path, asked: Ask) -> list[str]:
    """The known vulnerabilities of a lock file. Raises NotAudited unless every pin was looked up."""
    pins = {pin.name: pin.version for pin in read(lock)}
    found = {one["name"]: one["vulns"] for one in asked(lock) if "vulns" in one}
    missed = sorted(pins.keys() - found.keys())
    if not pins or missed:
        raise NotAudited(
            f"{lock.name}: {len(pins) - len(missed)} of {len(pins)} pins were audited, "
            f"not {', '.join(missed[:5])}"
        )
    return [
        f"{lock.name}: {name} {pins[name]}: {bad['id']}, mended in {', '.join(bad['fix_versions']) or 'none'}"
        for name, vulns in found.items()
        if name in pins
        for bad in vulns
    ]


def check_canary(asked: Ask) -> None:
    """Raises NotAudited where a package that is known to be bad is not found."""
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary.txt"
        canary.write_text(f"{CANARY}\n", "utf-8")
        if not any(one.get("vulns") for one in asked(canary)):
            raise NotAudited(f"the canary {CANARY} was not found: the advisories asked are not complete")


def audit(locks: Sequence[Path] = LOCKS, asked: Ask = ask, say: Callable[[str], None] = print) -> int:
    """The exit code."""
    try:
        check_canary(asked)
        bad = [line for lock in locks for line in bad_pins(lock, asked)]
    except NotAudited as error:
        say(f"NOT AUDITED: {error}")
        return 2
    for line in bad:
        say(line)
    say(f"{sum(len(read(lock)) for lock in locks)} pins of {len(locks)} lock files, {len(bad)} known faults")
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(audit())
