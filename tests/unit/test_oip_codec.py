"""Open Inference Protocol requests and responses as bytes; `tritonclient` writes and reads them too."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput, InferResult

from app.api.oip_codec import (
    InferRequest,
    decode_raw,
    decode_request,
    encode_response,
    header_length_of,
)
from app.api.oip_tensors import MAX_BATCH, NUMERIC, Tensor, to_bytes
from models.errors import InvalidRequest


def decode(body: object, blob: bytes = b"") -> InferRequest:
    header = orjson.dumps(body)
    return decode_request(header + blob, len(header) if blob else None)


def one(**fields: Any) -> dict[str, Any]:
    """A request with one input."""
    return {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2], **fields}]}


def triton_request(inputs: list[InferInput], **options: Any) -> InferRequest:
    body, length = InferenceServerClient.generate_request_body(inputs, **options)
    return decode_request(body, length)


numbers = st.sampled_from(sorted(NUMERIC)).flatmap(
    lambda name: st.tuples(
        st.just(name),
        hnp.arrays(
            NUMERIC[name],
            hnp.array_shapes(min_dims=1, max_dims=3, max_side=4),
            elements={"allow_nan": False, "allow_infinity": False} if name.startswith("FP") else None,
        ),
    )
)


@given(numbers, st.booleans())
def test_tritonclients_number_tensors_arrive(case: tuple[str, np.ndarray], binary: bool) -> None:
    name, array = case
    sent = InferInput("x", list(array.shape), name)
    binary = binary or name == "FP16"  # the client has no JSON form for it
    sent.set_data_from_numpy(array, binary_data=binary)
    (tensor,) = triton_request([sent]).inputs
    assert (tensor.name, tensor.datatype, tensor.shape) == ("x", name, array.shape)
    np.testing.assert_array_equal(tensor.data, array)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5), st.booleans())
def test_tritonclients_strings_arrive(texts: list[str], binary: bool) -> None:
    sent = InferInput("text", [len(texts)], "BYTES")
    sent.set_data_from_numpy(np.array(texts, dtype=object), binary_data=binary)
    (tensor,) = triton_request([sent]).inputs
    assert [v.decode() if isinstance(v, bytes) else v for v in tensor.data] == texts


def test_tritonclients_parameters_arrive() -> None:
    sent = InferInput("x", [1], "INT32")
    sent.set_data_from_numpy(np.array([1], np.int32))
    got = triton_request(
        [sent],
        outputs=[
            InferRequestedOutput("label", binary_data=False),
            InferRequestedOutput("scores", class_count=3),
        ],
        request_id="42",
        priority=2,
        timeout=1500,
    )
    label, scores = got.outputs
    assert (got.id, got.priority, got.timeout_us) == ("42", 2, 1500)
    assert (label.name, label.binary, label.classification) == ("label", False, 0)
    assert (scores.name, scores.binary, scores.classification) == ("scores", True, 3)
    assert triton_request([sent]).binary_output


@given(numbers, st.booleans(), st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=4))
def test_tritonclient_reads_responses(case: tuple[str, np.ndarray], binary: bool, texts: list[str]) -> None:
    name, array = case
    binary = binary or name == "FP16"  # the client has no JSON form for it
    outputs = [
        Tensor("x", name, array.shape, array, binary),
        Tensor("label", "BYTES", (len(texts),), list(texts), binary),
    ]
    encoded = encode_response(outputs, model_name="m", model_version="3", id="7", parameters={"digest": "d"})
    result = InferResult.from_response_body(encoded.body, header_length=encoded.header_length)
    response = result.get_response()
    assert (response["model_name"], response["model_version"], response["id"]) == ("m", "3", "7")
    assert response["parameters"] == {"digest": "d"}
    np.testing.assert_array_equal(result.as_numpy("x"), array)
    got = result.as_numpy("label")
    assert [v.decode() if isinstance(v, bytes) else v for v in got.ravel().tolist()] == texts


def test_data_may_be_flat_or_nested() -> None:
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        (tensor,) = decode(one(shape=[2, 2], data=data)).inputs
        np.testing.assert_array_equal(tensor.data, [[1, 2], [3, 4]])
    for texts in (["a", "b"], [["a"], ["b"]]):
        (tensor,) = decode(one(datatype="BYTES", shape=[2, 1], data=texts)).inputs
        assert tensor.data == ["a", "b"]


def test_binary_tensors_are_taken_in_order() -> None:
    a, b = np.arange(3, dtype="<f4"), [b"", b"\x00\xff"]
    blob = a.tobytes() + to_bytes(Tensor("b", "BYTES", (2,), list(b)))
    spec = {
        "inputs": [
            {"name": "a", "datatype": "FP32", "shape": [3], "parameters": {"binary_data_size": 12}},
            {"name": "c", "datatype": "BOOL", "shape": [1], "data": [True]},
            {"name": "b", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": 10}},
        ]
    }
    first, middle, last = decode(spec, blob).inputs
    np.testing.assert_array_equal(first.data, a)
    np.testing.assert_array_equal(middle.data, [True])
    assert last.data == b


def test_a_raw_body_is_one_tensor() -> None:
    (tensor,) = decode_raw(b"\xff\xd8 a picture", "image", "BYTES").inputs
    assert (tensor.shape, tensor.data) == ((1,), [b"\xff\xd8 a picture"])
    request = decode_raw(np.arange(4, dtype="<f4").tobytes(), "signal", "FP32")
    np.testing.assert_array_equal(request.inputs[0].data, [[0, 1, 2, 3]])
    assert request.binary_output
    for body, message in ((b"", "empty"), (b"12345", "whole number"), (b"\x00\x00\xc0\x7f", "NaN")):
        with pytest.raises(InvalidRequest, match=message):
            decode_raw(body, "signal", "FP32")


BINARY = {"parameters": {"binary_data_size": 8}}


@pytest.mark.parametrize(
    ("body", "blob", "message"),
    [
        ([], b"", "not a JSON object"),
        ({}, b"", "no input tensor"),
        ({"inputs": []}, b"", "no input tensor"),
        ({"inputs": {}}, b"", "inputs: expected a list"),
        ({"inputs": [3]}, b"", r"inputs\[0\]: expected an input tensor"),
        ({"inputs": [{"shape": [1]}]}, b"", r"inputs\[0\]: expected an input tensor"),
        ({"inputs": one()["inputs"] * 2}, b"", r"inputs\[1\]: the name was given before"),
        (one(datatype="FLOAT"), b"", "x: unknown datatype; one of BOOL"),
        (one(datatype=["FP32"]), b"", "x: unknown datatype"),
        (one(shape=None), b"", "x: the shape is a list"),
        (one(shape=[]), b"", "x: the shape is a list"),
        (one(shape=[True]), b"", "x: the shape is a list"),
        (one(shape=[-1]), b"", "x: the shape is a list"),
        (one(shape=[1.0]), b"", "x: the shape is a list"),
        (one(shape=[0], data=[]), b"", r"x: the batch is empty \(shape \[0\]\)"),
        (one(shape=[2, 0], data=[[], []]), b"", "x: the batch is empty"),
        (one(shape=[MAX_BATCH + 1]), b"", "at most 2048"),
        (one(shape=[1] * 9), b"", "at most 2048"),
        (one(shape=[3]), b"", r"expected data of shape \[3\], got 2 elements where 3 elements belong"),
        (one(shape=[2, 2], data=[[1, 2], [3]]), b"", "got 1 elements where 2"),
        (one(shape=[2, 2], data=[[1, 2], 3]), b"", "got a single value where 2"),
        (one(shape=[2**31, 2**31]), b"", "at most 2048"),
        (one(shape=[2, 2**62]), b"", "x: expected data of shape"),
        (one(data="12"), b"", "x: data is not a list"),
        (one(data=[1, "2"]), b"", "x: data holds values that are not FP32"),
        (one(data=[1, None]), b"", "not FP32"),
        (one(data=[1, True]), b"", "not FP32"),
        (one(data=[1, {}]), b"", "not FP32"),
        (one(data=[1, [2]]), b"", "not FP32|single value"),
        (one(data=[1, 1e39]), b"", "x: row 1 holds NaN or infinity"),
        (one(datatype="FP16", data=[1, 70000]), b"", "x: row 1 holds NaN or infinity"),
        (one(datatype="INT32", data=[1, 2.0]), b"", "not INT32"),
        (one(datatype="UINT8", data=[1, 256]), b"", "beyond the range of UINT8"),
        (one(datatype="UINT8", data=[1, -1]), b"", "beyond the range of UINT8"),
        (one(datatype="INT64", data=[1, 2**63]), b"", "beyond the range of INT64"),
        (one(datatype="BOOL", data=[1, 0]), b"", "not BOOL"),
        (one(datatype="BYTES", data=["a", 1]), b"", "not BYTES"),
        (one(datatype="BYTES", data=["a", ["b"]]), b"", "not BYTES|single value"),
        (one(**BINARY), b"\0" * 8, "give either data or parameters.binary_data_size"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2]}]}, b"", "give either"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], **BINARY}]}, b"\0" * 4, "only 4 bytes"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], **BINARY}]}, b"\0" * 9, "body holds 9"),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3], **BINARY}]},
            b"\0" * 8,
            r"FP32 of shape \[3\] takes 12 bytes but binary_data_size is 8",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], **BINARY}]},
            np.array([1, np.nan], "<f4").tobytes(),
            "x: row 1 holds NaN",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], **BINARY}]},
            b"\x05\0\0\0abcd",
            "element 0 runs past the end",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [2], **BINARY}]},
            b"\x00\0\0\0ab\0\0",
            "element 1 runs past the end",
        ),
        (
            {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [1], **BINARY}]},
            b"\x00\0\0\0\x00\0\0\0",
            "exactly 1 BYTES elements",
        ),
        (one(parameters=3), b"", "x.parameters: expected an object"),
        (one(parameters={"binary_data_size": -1}, data=...), b"", "whole number"),
        ({**one(), "outputs": [{}]}, b"", r"outputs\[0\]: expected an output"),
        ({**one(), "outputs": [{"name": "a"}, {"name": "a"}]}, b"", "given before"),
        ({**one(), "outputs": [{"name": "a", "parameters": {"binary_data": 1}}]}, b"", "true or false"),
        ({**one(), "outputs": [{"name": "a", "parameters": {"classification": -1}}]}, b"", "whole number"),
        ({**one(), "parameters": {"priority": "high"}}, b"", "priority is a whole number"),
        ({**one(), "parameters": {"timeout": 1.5}}, b"", "timeout is a whole number"),
        ({**one(), "parameters": {"sequence_id": 7}}, b"", "keep no state"),
        ({**one(), "id": 42}, b"", "id: expected a string"),
    ],
)
def test_what_is_wrong_is_said(body: Any, blob: bytes, message: str) -> None:
    if isinstance(body, dict) and body.get("inputs") and isinstance(body["inputs"], list):
        for spec in body["inputs"]:
            if isinstance(spec, dict) and spec.get("data") is ...:
                del spec["data"]
    with pytest.raises(InvalidRequest, match=message) as caught:
        decode(body, blob)
    assert caught.value.param


@pytest.mark.parametrize(
    ("body", "length", "message"),
    [
        (b"", None, "not valid JSON"),
        (b"{", None, "not valid JSON"),
        (b'{"inputs": [NaN]}', None, "not valid JSON"),
        (b"[" * 100_000, None, "not valid JSON"),
        (b'{"id": "\xff"}', None, "not valid JSON"),
        (b"{}", 3, "Inference-Header-Content-Length is 3 but the body has 2 bytes"),
        (b'{"inputs": []}', 5, "not valid JSON"),
    ],
)
def test_a_body_that_is_no_json_is_refused(body: bytes, length: int | None, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        decode_request(body, length)


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_decode_or_are_refused(body: bytes, length: int) -> None:
    with pytest.raises(InvalidRequest):
        decode_request(body, length)


@given(
    st.sampled_from([*NUMERIC, "BYTES"]),
    st.lists(st.integers(0, 5), max_size=3),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=3),
        lambda inner: st.lists(inner, max_size=4),
        max_leaves=12,
    ),
)
def test_any_json_data_decodes_to_its_shape_or_is_refused(
    datatype: str, shape: list[int], data: object
) -> None:
    try:
        body = orjson.dumps(one(datatype=datatype, shape=shape, data=data))
    except TypeError:  # half a surrogate pair: not a JSON text
        return
    try:
        (tensor,) = decode_request(body).inputs
    except InvalidRequest:
        return
    count = len(tensor.data) if isinstance(tensor.data, list) else tensor.data.size
    assert count == int(np.prod(shape))


def test_an_odd_name_is_not_echoed() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(one(name="<script>\n", shape=[0]))
    assert caught.value.message.startswith("inputs[0]: the batch is empty")


@pytest.mark.parametrize("value", ["", "-1", "1.0", "ten", "١", "9" * 12])
def test_a_header_that_is_no_number_is_refused(value: str) -> None:
    with pytest.raises(InvalidRequest, match="Inference-Header-Content-Length"):
        header_length_of(value)


def test_a_header_is_a_number_or_absent() -> None:
    assert (header_length_of(None), header_length_of("0"), header_length_of("17")) == (None, 0, 17)
