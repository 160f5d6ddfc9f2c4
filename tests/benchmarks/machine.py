"""The machine that measures, named as far as figures depend on it."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

from models.base import Record

_PACKAGES = ("onnxruntime-gpu", "numpy", "scipy", "uvicorn", "fastapi")


class Machine(Record):
    """Hardware and versions."""

    cpu: str
    cores: int
    memory_gb: float
    system: str
    python: str
    packages: dict[str, str]
    gpu: str = ""


def this_machine() -> Machine:
    return Machine(
        cpu=_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        system=f"{platform.system()} {platform.release().split('-')[0]} {platform.machine()}",
        python=platform.python_version(),
        packages={name: version(name) for name in _PACKAGES},
        gpu=_gpu(),
    )


def _gpu() -> str:
    """The first NVIDIA device, as its driver names it; "" where there is none."""
    for told in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        for line in told.read_text().splitlines():
            if line.startswith("Model:"):
                return line.split(":", 1)[1].strip()
    return ""


def load() -> float:
    """Load average of the last minute: above the benchmark's own part, somebody else was at work."""
    return round(os.getloadavg()[0], 2)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"
