"""`python -m tests.supply.sbom FILE`: what a service runs on, as a CycloneDX 1.6 bill of materials.

Made of the lock file alone, so that the same lock gives the same bytes anywhere.
"""

from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from tests.supply.locks import ROOT, Pin, read

LOCK = ROOT / "requirements" / "run.lock"


def bill(lock: Path = LOCK) -> dict[str, Any]:
    """The bill of materials as JSON data."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    pins = sorted(read(lock), key=lambda pin: (pin.name, pin.version))
    itself = f"pkg:pypi/{project['name']}@{project['version']}"
    refs = [_purl(pin) for pin in pins]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": itself,
                "name": project["name"],
                "version": project["version"],
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": [_component(pin) for pin in pins],
        "dependencies": [{"ref": itself, "dependsOn": refs}, *({"ref": ref} for ref in refs)],
    }


def _component(pin: Pin) -> dict[str, Any]:
    """With the hashes of its archives, of which one is installed: any of them is right."""
    distributions = [
        {
            "type": "distribution",
            "url": _purl(pin),
            "hashes": [{"alg": "SHA-256", "content": digest}],
        }
        for digest in sorted(pin.hashes)
    ]
    return {
        "type": "library",
        "bom-ref": _purl(pin),
        "name": pin.name,
        "version": pin.version,
        "purl": _purl(pin),
        "externalReferences": distributions,
    }


def _purl(pin: Pin) -> str:
    return f"pkg:pypi/{pin.name}@{pin.version}".replace("+", "%2B")


def main(target: str) -> None:
    made = bill()
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    Path(target).write_text(json.dumps(made, indent=1) + "\n", "utf-8")
    print(f"{target}: {len(made['components'])} components")


if __name__ == "__main__":
    main(sys.argv[1])
