"""ONNX Runtime sessions, opened in one way everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import onnxruntime as ort

CPU = ("CPUExecutionProvider",)
_OPTIONS = {
    # TF32 has 10 bits of mantissa: features would depend on the company in their batch by 1e-3, and models
    # fitted on the CPU would not repeat their golden examples. Who wants more speed takes an fp16 variant.
    # An exhaustive search for each new shape of a convolution takes longer, and found nothing faster.
    "CUDAExecutionProvider": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
}


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
    with_options = [(name, _OPTIONS.get(name, {})) for name in providers]
    session = ort.InferenceSession(graph, options, providers=with_options)
    session.disable_fallback()  # a GPU that fails while serving is to be noticed, not replaced by the CPU
    session._model_bytes = None  # ONNX Runtime keeps a copy of the graph for that fallback alone
    return session
