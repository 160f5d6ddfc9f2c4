"""What other servers are given to serve: our exported text backbone, its tokenizer, and a head of 10 classes.

These scripts run in an environment of the other server's own, without Durian:

    durian backbones export text/minilm-l6-int8 graph.onnx --tap sentence
    taskset -c 0 .peer/bin/python tests/benchmarks/peers/litserve_server.py graph.onnx 8001 bodies.jsonl
    python -m tests.benchmarks peers --peer "LitServe 0.2.19" http://127.0.0.1:8001/predict bodies.jsonl PID

The head's weights are drawn: what it answers is of no matter here, what it costs is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

CLASSES = 10
MOST = 32
"""The largest batch, as in Durian."""
TEXTS = Path(__file__).parents[3] / "examples" / "texts.jsonl"
_COUNT = 240


class Classifier:
    """Texts to labels, one thread."""

    def __init__(self, graph: str) -> None:
        runtime = import_module("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = runtime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        file = str(Path(graph).with_suffix(".tokenizer.json"))
        self._tokenizer = import_module("tokenizers").Tokenizer.from_file(file)
        self._tokenizer.enable_padding()
        self._tokenizer.enable_truncation(256)
        width = self._session.get_outputs()[0].shape[1]
        self._weight = np.random.default_rng(0).normal(size=(width, CLASSES)).astype(np.float32)

    def __call__(self, texts: Sequence[str]) -> list[int]:
        found = self._tokenizer.encode_batch(list(texts))
        feeds = {
            "input_ids": np.array([one.ids for one in found], np.int64),
            "attention_mask": np.array([one.attention_mask for one in found], np.int64),
        }
        (features,) = self._session.run(None, feeds)
        labels: list[int] = (features @ self._weight).argmax(axis=1).tolist()
        return labels


def main(serve: Callable[[str, int], Any], body: Callable[[str], object]) -> None:
    """Write the bodies to send, one a line, and serve until killed."""
    graph, port, bodies = sys.argv[1:]
    texts = [json.loads(line)["input"] for line in TEXTS.read_text("utf-8").splitlines()][:_COUNT]
    Path(bodies).write_text("".join(json.dumps(body(text)) + "\n" for text in texts), "utf-8")
    sys.stdout.write(f"pid {os.getpid()}\n")
    sys.stdout.flush()
    serve(graph, int(port))
