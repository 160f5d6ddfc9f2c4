"""Triton by way of PyTriton, batching what waits. Its address is /v2/models/text/infer."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from common import MOST, Classifier, main

decorators: Any = import_module("pytriton.decorators")
config: Any = import_module("pytriton.model_config")
triton: Any = import_module("pytriton.triton")


def serve(graph: str, port: int) -> None:
    classify = Classifier(graph)

    def infer(text: Any) -> Any:
        labels = classify([one.decode() for one in text[:, 0]])
        return {"label": np.array(labels, np.int64)[:, None]}

    places = triton.TritonConfig(
        http_address="127.0.0.1", http_port=port, allow_grpc=False, allow_metrics=False
    )
    with triton.Triton(config=places) as server:
        server.bind(
            model_name="text",
            infer_func=decorators.batch(infer),
            inputs=[config.Tensor(name="text", dtype=bytes, shape=(1,))],
            outputs=[config.Tensor(name="label", dtype=np.int64, shape=(1,))],
            config=config.ModelConfig(max_batch_size=MOST, batcher=config.DynamicBatcher()),
            strict=False,
        )
        server.serve()


def _body(text: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}]}


if __name__ == "__main__":
    main(serve, _body)
