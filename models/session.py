"""ONNX Runtime sessions, opened in one way everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime as ort

CPU = ("CPUExecutionProvider",)


def open_session(graph: bytes, *, threads: int = 1, providers: Sequence[str] = CPU) -> Any:
    """An ONNX Runtime session over a self-contained graph.

    One intra-op thread, no spinning: lanes of one thread each beat one session of many threads
    (docs/benchmarks.md), and a session may be run from several threads at once.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    session = ort.InferenceSession(graph, options, providers=list(providers))
    session.disable_fallback()  # a GPU that fails while serving is to be noticed, not replaced by the CPU
    session._model_bytes = None  # ONNX Runtime keeps a copy of the graph for that fallback alone
    return session
