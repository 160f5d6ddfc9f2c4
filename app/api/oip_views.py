"""Models as the Open Inference Protocol sees them: their tensors, their answers, their counters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson

from app.api.oip_codec import InferRequest, Requested
from app.api.oip_tensors import Tensor, bad
from app.engine.heads import Outputs
from app.engine.model import LoadedModel, Prediction
from app.engine.stats import Compute, Counters, Duration, total
from app.services.serving import labels_above, parts
from models.errors import Unavailable
from models.manifest import Manifest

PLATFORM = "onnxruntime_onnx"
EMBEDDING = "embedding"
UNKNOWN = "unknown"
_ONLY_BY_NAME = frozenset({EMBEDDING, UNKNOWN})
"""Outputs that are given to those alone who ask for them."""


def input_spec(manifest: Manifest) -> dict[str, Any]:
    """The one input: BYTES [-1] for text and encoded media, FP32 [-1, n] for signals."""
    if manifest.input.modality != "signal":
        return {"name": manifest.input.modality, "datatype": "BYTES", "shape": [-1]}
    points = manifest.input.grid.length if manifest.input.grid else -1
    return {"name": "signal", "datatype": "FP32", "shape": [-1, points]}


def output_specs(manifest: Manifest) -> list[dict[str, Any]]:
    """The outputs of the model's task, then `name.scores` and the like of what it answers besides by name,
    `embedding`, and `unknown` where the model can tell."""
    more = [{"name": EMBEDDING, "datatype": "FP32", "shape": [-1, manifest.head.in_dim]}]
    if manifest.rejection is not None:
        more.append({"name": UNKNOWN, "datatype": "BOOL", "shape": [-1]})
    others = [_answer_specs(manifest.alone(output), f"{output.name}.") for output in manifest.outputs]
    return [*_answer_specs(manifest.alone(), ""), *(spec for specs in others for spec in specs), *more]


def _answer_specs(manifest: Manifest, prefix: str) -> list[dict[str, Any]]:
    count = manifest.head.out_dim
    if manifest.task == "regression":
        return [{"name": f"{prefix}value", "datatype": "FP32", "shape": [-1] if count == 1 else [-1, count]}]
    label = {"name": f"{prefix}label", "datatype": "BYTES", "shape": [-1]}
    return [label, {"name": f"{prefix}scores", "datatype": "FP32", "shape": [-1, count]}]


def metadata(name: str, versions: Sequence[int], manifest: Manifest) -> dict[str, Any]:
    """The model metadata response."""
    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": [input_spec(manifest)],
        "outputs": output_specs(manifest),
    }


def receipts(model: LoadedModel) -> dict[str, str]:
    """What answered, by digest: proof of which model, backbone and data a prediction came from."""
    return {
        "digest": model.digest,
        "backbone": model.manifest.backbone.id,
        "backbone_digest": model.manifest.backbone.digest,
        "dataset_digest": model.manifest.dataset_digest,
    }


def inputs_of(manifest: Manifest, request: InferRequest) -> list[object]:
    """The raw inputs of a request, for the modality to check. Raises InvalidRequest."""
    spec = input_spec(manifest)
    if len(request.inputs) != 1 or request.inputs[0].name != spec["name"]:
        raise bad(f"inputs: this model takes one input tensor, {spec['name']}.", "inputs")
    tensor = request.inputs[0]
    if tensor.datatype != spec["datatype"]:
        raise bad(f"{tensor.name}: expected {spec['datatype']}, got {tensor.datatype}.", tensor.name)
    if not _fits(tensor.shape, spec["shape"]):
        raise bad(f"{tensor.name}: expected shape {spec['shape']}, got {list(tensor.shape)}.", tensor.name)
    return list(tensor.data)


def _fits(shape: tuple[int, ...], spec: list[int]) -> bool:
    """-1 is any size; [n, 1] is also taken for [n], as clients of servers with batch dimensions send it."""
    if len(spec) == 1 and len(shape) == 2 and shape[1] == 1:
        return True
    return len(shape) == len(spec) and all(b in (-1, a) for a, b in zip(shape, spec, strict=True))


def wanted(manifest: Manifest, request: InferRequest) -> tuple[Requested, ...]:
    """The outputs to give: those asked for, else all but `embedding` and `unknown`. Raises InvalidRequest."""
    known = [spec["name"] for spec in output_specs(manifest)]
    if not request.outputs:
        return tuple(Requested(name, request.binary_output) for name in known if name not in _ONLY_BY_NAME)
    for i, output in enumerate(request.outputs):
        if output.name not in known:
            raise bad(f"outputs[{i}]: no such output; this model gives {', '.join(known)}.", f"outputs[{i}]")
        if output.classification and output.name.rpartition(".")[2] != "scores":
            raise bad(f"{output.name}: only scores can be given as classification.", f"outputs[{i}]")
    return request.outputs


def outputs_of(manifest: Manifest, prediction: Prediction, requested: Sequence[Requested]) -> list[Tensor]:
    """The tensors asked for, in that order."""
    answers = parts(manifest, prediction.outputs)
    return [_output(answers, prediction, output) for output in requested]


def _output(
    answers: Mapping[str, tuple[Manifest, Outputs]], prediction: Prediction, output: Requested
) -> Tensor:
    name, _, kind = output.name.rpartition(".")
    manifest, outputs = answers[name]
    if output.classification:
        return _classification(manifest, outputs, output)
    data = _BUILD[kind](manifest, replace(prediction, outputs=outputs))
    if isinstance(data, list):
        return Tensor(output.name, "BYTES", (len(data),), data, output.binary)
    datatype = "BOOL" if data.dtype == bool else "FP32"
    return Tensor(output.name, datatype, data.shape, data, output.binary)


def _labels(manifest: Manifest, prediction: Prediction) -> list[str | bytes]:
    """The best class's name; for multilabel a JSON list of the names with a score of at least a half."""
    if manifest.task == "multilabel":
        return [orjson.dumps(names).decode() for names in labels_above(manifest, prediction.outputs)]
    return [manifest.labels[place] for place in prediction.outputs.argmax(axis=1)]


def _value(_: Manifest, prediction: Prediction) -> np.ndarray[Any, Any]:
    values = prediction.outputs
    return values[:, 0] if values.shape[1] == 1 else values


def _embedding(_: Manifest, prediction: Prediction) -> np.ndarray[Any, Any]:
    return np.empty((0, 0), np.float32) if prediction.embedding is None else prediction.embedding


def _unknown(_: Manifest, prediction: Prediction) -> np.ndarray[Any, Any]:
    if prediction.unknown is None:
        raise Unavailable("Whether these inputs are unknown could not be told.", code="inference_failed")
    return prediction.unknown


_BUILD: Mapping[str, Callable[[Manifest, Prediction], list[str | bytes] | np.ndarray[Any, Any]]] = {
    "label": _labels,
    "scores": lambda _, prediction: prediction.outputs,
    "value": _value,
    EMBEDDING: _embedding,
    UNKNOWN: _unknown,
}


def _classification(manifest: Manifest, scores: np.ndarray[Any, Any], output: Requested) -> Tensor:
    """Triton's classification extension: the top k of each row as `value:index:label`, BYTES [n, k]."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, : output.classification]
    data: list[str | bytes] = [
        f"{scores[row, place]:f}:{place}:{manifest.labels[place]}"
        for row, places in enumerate(order.tolist())
        for place in places
    ]
    return Tensor(output.name, "BYTES", order.shape, data, output.binary)


def model_stats(name: str, version: int, counters: Counters) -> dict[str, Any]:
    """One entry of the statistics extension's `model_stats`."""
    return {
        "name": name,
        "version": str(version),
        "last_inference": counters.last_inference_ms,
        "inference_count": counters.inferences,
        "execution_count": counters.executions,
        "inference_stats": {
            "success": _duration(counters.success),
            "fail": _duration(total(counters.failures)),
            "queue": _duration(counters.queue),
            **_compute(counters.compute),
        },
        "batch_stats": [{"batch_size": size, **_compute(c)} for size, c in counters.batches.items()],
    }


def _duration(d: Duration) -> dict[str, int]:
    return {"count": d.count, "ns": d.ns}


def _compute(c: Compute) -> dict[str, dict[str, int]]:
    return {
        "compute_input": _duration(c.input),
        "compute_infer": _duration(c.infer),
        "compute_output": _duration(c.output),
    }
