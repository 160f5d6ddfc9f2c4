"""Where graphs run: the CPU, or CUDA where it is really there."""

from __future__ import annotations

import contextlib
import io
import logging
from pathlib import Path
from typing import Any, Literal

import onnxruntime as ort

from models.runtime import CPU

CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"
Device = Literal["cpu", "cuda"]
log = logging.getLogger(__name__)


def providers(wanted: Literal["auto", "cpu", "cuda"] = "auto", *, tensorrt: bool = False) -> tuple[str, ...]:
    """The execution providers to open sessions with, best first; `tensorrt` puts TensorRT before CUDA.

    CUDA is taken only where an NVIDIA device and the CUDA libraries are; asked for and not there, it is
    logged and the CPU taken. A session may still fall back: ask `device_of` what it got.
    """
    available = ort.get_available_providers()
    if wanted != "cpu" and has_nvidia_device() and CUDA in available:
        with contextlib.redirect_stdout(io.StringIO()):  # preload_dlls prints what it misses
            ort.preload_dlls()
        if tensorrt and TENSORRT in available:
            return (TENSORRT, CUDA, *CPU)
        if tensorrt:
            log.warning("TensorRT was asked for, but this ONNX Runtime has none; serving by CUDA")
        return (CUDA, *CPU)
    if wanted == "cuda" or tensorrt:
        log.warning("CUDA was asked for, but there is no CUDA device here; serving from the CPU")
    return CPU


def device_of(session: Any, asked: tuple[str, ...] = CPU) -> Device:
    """Where `session` really runs. ONNX Runtime falls back to the CPU without an error; here it is logged."""
    device: Device = "cuda" if {CUDA, TENSORRT} & set(session.get_providers()) else "cpu"
    if CUDA in asked and device == "cpu":
        log.warning("CUDA was asked for, but ONNX Runtime gave the CPU; see its log for the missing library")
    return device


def has_nvidia_device() -> bool:
    """Whether this process sees one, whatever drives it."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
