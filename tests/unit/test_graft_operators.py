"""Each operator, with the attributes in which versions of ONNX differ, gives what ONNX Runtime gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.runtime import open_session

torch = pytest.importorskip("torch")

from training.graft.module import GraphModule  # noqa: E402 (after torch is known to be there)
from training.graft.operators import OPERATORS  # noqa: E402
from training.graft.operators.base import operator  # noqa: E402

F, I = np.float32, np.int64  # noqa: E741 (the types of the cases below)
A = np.random.default_rng(0).normal(size=(2, 3, 6, 5)).astype(F)
B = np.abs(A[0, 0]) + F(0.5)
W = np.random.default_rng(1).normal(size=(4, 3, 3, 2)).astype(F)
S = np.array([0.5, 1.5, -1.0], F)

Case = tuple[str, list[Any], dict[str, Any]]
CASES: list[Case] = [
    *((op, [A], {}) for op in ("Abs", "Ceil", "Cos", "Erf", "Exp", "Floor", "HardSwish", "Identity", "Neg")),
    *((op, [A], {}) for op in ("Relu", "Round", "Sigmoid", "Sign", "Sin", "Softplus", "Softsign", "Tanh")),
    *((op, [B], {}) for op in ("Log", "Reciprocal", "Sqrt")),
    *((op, [A, B], {}) for op in ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean")),
    *((op, [A, B], {}) for op in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")),
    *((op, [A > 0, B > 1], {}) for op in ("And", "Or", "Xor")),
    ("Not", [A > 0], {}),
    ("Pow", [B, np.array(3, F)], {}),
    ("Div", [np.array([-7, 7], I), np.array([2, -2], I)], {}),
    ("Mod", [np.array([-7, 7], I), np.array([3, -3], I)], {}),
    ("Mod", [A, B], {"fmod": 1}),
    ("Where", [A > 0, A, B], {}),
    ("Clip", [A, np.array(-0.5, F), np.array(0.5, F)], {}),
    ("Clip", [A, None, np.array(0.5, F)], {}),
    ("Cast", [A * 5], {"to": TensorProto.INT64}),
    ("Cast", [A], {"to": TensorProto.BOOL}),
    ("CastLike", [np.array([1, 2], I), A], {}),
    ("Dropout", [A], {}),
    ("Elu", [A], {"alpha": 0.5}),
    ("Celu", [A], {"alpha": 0.5}),
    ("Selu", [A], {}),
    ("Mish", [A], {"opset": 18}),
    ("Gelu", [A], {"approximate": "tanh", "opset": 20}),
    ("LeakyRelu", [A], {"alpha": 0.2}),
    ("HardSigmoid", [A], {"alpha": 0.3}),
    ("PRelu", [A, S.reshape(3, 1, 1)], {}),
    ("Shape", [A], {"start": 1, "end": -1}),
    ("Size", [A], {}),
    ("Reshape", [A, np.array([0, -1, 5], I)], {}),
    ("Flatten", [A], {"axis": -2}),
    ("Transpose", [A], {}),
    ("Transpose", [A], {"perm": [0, 2, 3, 1]}),
    ("Squeeze", [A[:1, :, :1]], {}),
    ("Squeeze", [A[:1], np.array([0], I)], {}),
    ("Squeeze", [A[:1]], {"axes": [0], "opset": 11}),
    ("Unsqueeze", [A, np.array([-1, 0], I)], {}),
    ("Unsqueeze", [A], {"axes": [1, 3], "opset": 11}),
    ("Concat", [A, A], {"axis": -3}),
    ("Split", [A], {"axis": 1, "outputs": 3}),
    ("Split", [A, np.array([1, 2], I)], {"axis": 1, "outputs": 2}),
    ("Split", [A], {"axis": 3, "num_outputs": 2, "outputs": 2, "opset": 18}),
    ("Slice", [A, np.array([-4], I), np.array([2**62], I), np.array([2], I), np.array([2], I)], {}),
    ("Slice", [A, np.array([-1], I), np.array([-(2**62)], I), np.array([-1], I), np.array([-2], I)], {}),
    ("Slice", [A, np.array([1, 2], I), np.array([2, 4], I)], {}),
    ("Gather", [A, np.array([[0, -1], [2, 1]], I)], {"axis": 1}),
    ("Gather", [A, np.array(-2, I)], {"axis": -1}),
    ("NonZero", [np.array([[0, 3, 0], [1, 0, 2]], I)], {}),
    ("GatherElements", [A, np.array([[[[-1, 0, 1, 2, 3]]]], I)], {"axis": 3}),
    ("Expand", [S, np.array([2, 1, 1], I)], {}),
    ("Tile", [S, np.array([2], I)], {}),
    ("ConstantOfShape", [np.array([2, 3], I)], {"value": numpy_helper.from_array(np.array([7], I))}),
    ("ConstantOfShape", [np.array([2], I)], {}),
    ("Range", [np.array(1, I), np.array(8, I), np.array(3, I)], {}),
    ("Trilu", [A, np.array(1, I)], {"upper": 0}),
    ("Pad", [A, np.array([0, 0, 1, 2, 0, 0, 3, 0], I), np.array(2, F)], {}),
    ("Pad", [A, np.array([0, 0, 1, 2, 0, 0, 3, 0], I)], {"mode": "edge"}),
    ("Pad", [A, np.array([0, 0, 1, 2, 0, 0, 3, 0], I)], {"mode": "reflect"}),
    ("Pad", [A, np.array([0, 0, -1, 0, 0, 0, -2, 1], I)], {}),
    ("Pad", [A, np.array([1, 2], I), None, np.array([-1], I)], {"opset": 18}),
    *((f"Reduce{op}", [B], {"axes": [0], "opset": 13}) for op in ("L1", "L2", "LogSum", "LogSumExp")),
    *((f"Reduce{op}", [A], {"axes": [1, -1], "keepdims": 0}) for op in ("Max", "Mean", "Min", "Prod")),
    ("ReduceSum", [A, np.array([-2], I)], {}),
    ("ReduceSum", [A], {"noop_with_empty_axes": 1}),
    ("ReduceSum", [A], {}),
    ("ReduceMean", [A, np.array([2, 3], I)], {"opset": 18}),
    ("ReduceSumSquare", [A], {"axes": [3]}),
    ("ArgMax", [A], {"axis": 2, "keepdims": 0}),
    ("ArgMin", [A], {"axis": -1}),
    ("Softmax", [A], {"axis": 1}),
    ("Softmax", [A], {"axis": 2, "opset": 11}),
    ("LogSoftmax", [A], {}),
    ("CumSum", [A, np.array(1, I)], {}),
    ("CumSum", [A, np.array(2, I)], {"exclusive": 1, "reverse": 1}),
    ("MatMul", [A, B.T], {}),
    ("Gemm", [B.T, A[0, 0].T, np.arange(5, dtype=F)[:, None]], {"alpha": 0.5, "beta": 2.0, "transB": 1}),
    ("Gemm", [B, A[0, 0]], {"transA": 1}),
    ("Einsum", [A, B], {"equation": "ncij,ij->nc"}),
    ("Conv", [A, W, np.arange(4, dtype=F)], {"pads": [1, 0, 1, 0], "strides": [2, 1]}),
    ("Conv", [A, W], {"pads": [0, 1, 2, 0], "dilations": [2, 1]}),
    ("Conv", [A, W], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", [A, W], {"auto_pad": "SAME_LOWER"}),
    ("Conv", [A, W[:3, :1]], {"group": 3}),
    ("Conv", [A[:, :, 0], W[:, :, :, 0]], {}),
    ("MaxPool", [A], {"kernel_shape": [3, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", [A], {"kernel_shape": [3, 3], "pads": [0, 0, 1, 1], "strides": [2, 2]}),
    ("MaxPool", [A], {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"}),
    ("AveragePool", [A], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", [A], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    ("AveragePool", [A], {"kernel_shape": [2, 2], "pads": [0, 0, 1, 1], "strides": [2, 2]}),
    ("AveragePool", [A], {"kernel_shape": [2, 2], "pads": [1, 0, 0, 0], "count_include_pad": 1}),
    ("GlobalAveragePool", [A], {}),
    ("GlobalMaxPool", [A], {}),
    ("BatchNormalization", [A, S, -S, 2 * S, S * S], {"epsilon": 1e-3}),
    ("LayerNormalization", [A, B[0], B[1]], {"epsilon": 1e-3}),
    ("LayerNormalization", [A, B], {"axis": -2}),
    ("InstanceNormalization", [A, S, -S], {}),
    ("GroupNormalization", [A, S, -S], {"num_groups": 3, "opset": 21}),
    ("LpNormalization", [A], {"axis": 1}),
    ("LRN", [A], {"size": 3, "alpha": 0.1}),
]


def one_node(case: Case) -> onnx.ModelProto:
    op, inputs, attributes = case
    given = dict(attributes)
    opset, count = given.pop("opset", 17), given.pop("outputs", 1)
    names = ["" if value is None else f"x{n}" for n, value in enumerate(inputs)]
    outputs = [f"y{n}" for n in range(count)]
    values = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape)
        for name, value in zip(names, inputs, strict=True)
        if name
    ]
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, **given)],
        "one",
        values,
        [onnx.ValueInfoProto(name=name) for name in outputs],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("case", CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)])
def test_it_gives_what_the_runtime_gives(case: Case) -> None:
    model = one_node(case)
    feeds = {f"x{n}": np.ascontiguousarray(v) for n, v in enumerate(case[1]) if v is not None}
    expected = open_session(model.SerializeToString()).run(None, feeds)
    got = GraphModule(model)({name: torch.from_numpy(value) for name, value in feeds.items()})
    for value, reference in zip(got.values(), expected, strict=True):
        assert value.numpy().dtype == reference.dtype
        np.testing.assert_allclose(value.numpy(), reference, rtol=1e-5, atol=1e-5)


def test_every_operator_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(OPERATORS)


def test_a_name_is_registered_once() -> None:
    with pytest.raises(ValueError, match="Relu"):
        operator("Relu")(lambda call, x: x)
