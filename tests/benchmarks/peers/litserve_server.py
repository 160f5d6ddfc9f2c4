"""LitServe: one worker, batches of what came within 5 ms. Its address is /predict."""

from importlib import import_module
from typing import Any

from common import MOST, Classifier, main

litserve: Any = import_module("litserve")


class Api(litserve.LitAPI):
    """Text in, label out."""

    def __init__(self, graph: str) -> None:
        super().__init__(max_batch_size=MOST, batch_timeout=0.005)
        self._graph = graph

    def setup(self, device: str) -> None:
        self._classify = Classifier(self._graph)

    def decode_request(self, request):
        return request["text"]

    def batch(self, inputs: Any) -> Any:
        return inputs

    def predict(self, texts: Any) -> Any:
        return self._classify(texts)

    def unbatch(self, output: Any) -> Any:
        return output

    def encode_response(self, label: Any) -> Any:
        return {"label": label}


def serve(graph: str, port: int) -> None:
    server = litserve.LitServer(Api(graph), accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False)


if __name__ == "__main__":
    main(serve, lambda text: {"text": text})
