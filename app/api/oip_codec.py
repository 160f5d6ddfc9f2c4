"""Open Inference Protocol v2: requests and responses as bytes, with the binary tensor extension.

Pure functions over bytes, tensors and messages. The protocol and its extension are described in the
open-inference-protocol specification (`inference_rest.md`) and Triton's `extension_binary_data.md`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from app.api.oip_tensors import (
    DATATYPES,
    NUMERIC,
    Tensor,
    bad,
    finite,
    from_binary,
    from_json,
    shape_of,
    to_bytes,
)

_PLAIN = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A tensor name fit to stand in a message."""


@dataclass(frozen=True)
class Requested:
    """An output asked for: as raw bytes or JSON, as top classes where `classification` is above 0."""

    name: str
    binary: bool = False
    classification: int = 0


@dataclass(frozen=True, eq=False)
class InferRequest:
    """A decoded request. `outputs` is empty for "all of them"; `timeout_us` is 0 for none."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Requested, ...] = ()
    id: str = ""
    binary_output: bool = False
    priority: int = 0
    timeout_us: int = 0


@dataclass(frozen=True)
class Encoded:
    """A body, and the length of its JSON part when binary tensors follow it."""

    body: bytes
    header_length: int | None = None


@dataclass
class _Blob:
    """The bytes behind the JSON, handed out in order."""

    data: memoryview
    at: int = 0

    def take(self, size: int, where: str) -> memoryview:
        if size > len(self.data) - self.at:
            raise bad(
                f"{where}: binary_data_size is {size} but only {len(self.data) - self.at} bytes of the body "
                "are left.",
                where,
            )
        self.at += size
        return self.data[self.at - size : self.at]


@dataclass(frozen=True)
class _Header:
    """The JSON part, and how it was found to be well-formed."""

    fields: Mapping[str, Any]
    blob: _Blob = field(repr=False)


def decode_request(body: bytes, header_length: int | None = None) -> InferRequest:
    """Decode an infer request. `header_length` is the `Inference-Header-Content-Length`, None without one.

    Raises InvalidRequest, naming the tensor and what is wrong with it.
    """
    header = _split(body, header_length)
    fields = header.fields
    inputs = tuple(
        _input(i, spec, header.blob) for i, spec in enumerate(_records(fields, "inputs", "an input tensor"))
    )
    if not inputs:
        raise bad("inputs: the request has no input tensor.", "inputs")
    if header.blob.at != len(header.blob.data):
        raise bad(
            f"The inputs state {header.blob.at} bytes of binary data but the body holds "
            f"{len(header.blob.data)}.",
            "inputs",
        )
    parameters = _parameters(fields, "parameters")
    binary = _flag(parameters, "binary_data_output", "parameters")
    return InferRequest(
        inputs=inputs,
        outputs=tuple(
            _output(i, spec, binary) for i, spec in enumerate(_records(fields, "outputs", "an output"))
        ),
        id=_id(fields),
        binary_output=binary,
        priority=_count(parameters, "priority", "parameters"),
        timeout_us=_count(parameters, "timeout", "parameters"),
    )


def decode_raw(body: bytes, name: str, datatype: str) -> InferRequest:
    """A body that is one tensor and nothing else (`Inference-Header-Content-Length: 0`).

    BYTES is one element [1]; a number type is one row [1, n]. All outputs are then binary.
    """
    if not body:
        raise bad(f"{name}: the body is empty.", name)
    if datatype == "BYTES":
        return InferRequest((Tensor(name, datatype, (1,), [body]),), binary_output=True)
    dtype = NUMERIC[datatype]
    if len(body) % dtype.itemsize:
        raise bad(
            f"{name}: {len(body)} bytes are not a whole number of {datatype} ({dtype.itemsize} bytes each).",
            name,
        )
    shape = (1, len(body) // dtype.itemsize)
    data = finite(np.frombuffer(body, dtype).reshape(shape), name)
    return InferRequest((Tensor(name, datatype, shape, data),), binary_output=True)


def header_length_of(value: str | None) -> int | None:
    """The `Inference-Header-Content-Length` header as a number. Raises InvalidRequest."""
    if value is None:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 12):
        raise bad("The Inference-Header-Content-Length header is not a number of bytes.", "header")
    return int(value)


def encode_response(
    outputs: Sequence[Tensor], *, model_name: str, model_version: str, id: str, parameters: Mapping[str, str]
) -> Encoded:
    """Encode an infer response; outputs marked `binary` follow the JSON as raw little-endian bytes."""
    listed, blobs = [], []
    for tensor in outputs:
        entry: dict[str, Any] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
        }
        if tensor.binary:
            blob = to_bytes(tensor)
            blobs.append(blob)
            entry["parameters"] = {"binary_data_size": len(blob)}
        else:
            entry["data"] = tensor.data if isinstance(tensor.data, list) else tensor.data.ravel()
        listed.append(entry)
    response: dict[str, Any] = {"model_name": model_name, "model_version": model_version}
    if id:
        response["id"] = id
    response |= {"parameters": dict(parameters), "outputs": listed}
    header = orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)
    return Encoded(b"".join((header, *blobs)), len(header)) if blobs else Encoded(header)


def _split(body: bytes, header_length: int | None) -> _Header:
    if header_length is not None and header_length > len(body):
        raise bad(
            f"Inference-Header-Content-Length is {header_length} but the body has {len(body)} bytes.",
            "header",
        )
    view = memoryview(body)
    end = len(body) if header_length is None else header_length
    try:
        fields = orjson.loads(view[:end])
    except orjson.JSONDecodeError:
        raise bad("The request is not valid JSON, or is nested too deeply.", "body") from None
    if not isinstance(fields, dict):
        raise bad("The request is not a JSON object.", "body")
    return _Header(fields, _Blob(view[end:]))


def _records(fields: Mapping[str, Any], key: str, what: str) -> list[Mapping[str, Any]]:
    """The list under `key`, of objects with distinct names."""
    found = fields.get(key, [])
    if not isinstance(found, list):
        raise bad(f"{key}: expected a list.", key)
    names = set()
    for i, entry in enumerate(found):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise bad(f"{key}[{i}]: expected {what}, an object with a name.", f"{key}[{i}]")
        if entry["name"] in names:
            raise bad(f"{key}[{i}]: the name was given before.", f"{key}[{i}].name")
        names.add(entry["name"])
    return found


def _input(i: int, spec: Mapping[str, Any], blob: _Blob) -> Tensor:
    where = spec["name"] if _PLAIN.fullmatch(spec["name"]) else f"inputs[{i}]"
    datatype, shape = spec.get("datatype"), shape_of(spec.get("shape"), where)
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise bad(f"{where}: unknown datatype; one of {', '.join(DATATYPES)}.", f"{where}.datatype")
    size = _parameters(spec, f"{where}.parameters").get("binary_data_size")
    if (size is None) == ("data" not in spec):
        raise bad(f"{where}: give either data or parameters.binary_data_size.", where)
    if size is None:
        data = from_json(spec["data"], datatype, shape, where)
    else:
        size = _count({"binary_data_size": size}, "binary_data_size", where)
        data = from_binary(blob.take(size, where), datatype, shape, where)
    return Tensor(spec["name"], datatype, shape, data)


def _output(i: int, spec: Mapping[str, Any], binary_default: bool) -> Requested:
    where = f"outputs[{i}].parameters"
    parameters = _parameters(spec, where)
    return Requested(
        spec["name"],
        _flag(parameters, "binary_data", where, default=binary_default),
        _count(parameters, "classification", where),
    )


def _parameters(fields: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    found = fields.get("parameters") or {}
    if not isinstance(found, dict):
        raise bad(f"{where}: expected an object.", where)
    if any(key.startswith("sequence_") and value for key, value in found.items()):
        raise bad(f"{where}: models keep no state; sequence parameters are not supported.", where)
    return found


def _id(fields: Mapping[str, Any]) -> str:
    found = fields.get("id", "")
    if not isinstance(found, str):
        raise bad("id: expected a string.", "id")
    return found


def _flag(parameters: Mapping[str, Any], key: str, where: str, *, default: bool = False) -> bool:
    found = parameters.get(key, default)
    if not isinstance(found, bool):
        raise bad(f"{where}: {key} is true or false.", where)
    return found


def _count(parameters: Mapping[str, Any], key: str, where: str) -> int:
    found = parameters.get(key, 0)
    if type(found) is not int or found < 0:
        raise bad(f"{where}: {key} is a whole number, 0 or more.", where)
    return found
