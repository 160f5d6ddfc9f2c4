"""MLServer: all in one process, adaptive batches within 5 ms. Its address is /v2/models/text/infer."""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import Any

from common import MOST, Classifier, main

mlserver: Any = import_module("mlserver")
codecs: Any = import_module("mlserver.codecs")
settings: Any = import_module("mlserver.settings")


class Model(mlserver.MLModel):
    """Text in, label out."""

    async def load(self) -> bool:
        self._classify = Classifier(self.settings.parameters.uri)
        return True

    async def predict(self, payload: Any) -> Any:
        labels = self._classify(codecs.StringCodec.decode_input(payload.inputs[0]))
        output = mlserver.types.ResponseOutput(
            name="label", shape=[len(labels), 1], datatype="INT64", data=labels
        )
        return mlserver.types.InferenceResponse(model_name=self.name, outputs=[output])


async def _serve(graph: str, port: int) -> None:
    server = mlserver.MLServer(
        settings.Settings(
            host="127.0.0.1",
            http_port=port,
            grpc_port=port + 1,
            metrics_port=port + 2,
            parallel_workers=0,
            debug=False,
        )
    )
    model = settings.ModelSettings(
        name="text",
        implementation=Model,
        max_batch_size=MOST,
        max_batch_time=0.005,
        parameters=settings.ModelParameters(uri=graph),
    )
    await server.start([model])


def serve(graph: str, port: int) -> None:
    asyncio.run(_serve(graph, port))


def _body(text: str) -> dict[str, Any]:
    return {"inputs": [{"name": "text", "shape": [1, 1], "datatype": "BYTES", "data": [text]}]}


if __name__ == "__main__":
    main(serve, _body)
