"""Which ONNX files an administrator may import: plain feature extractors, whole in one file.

ONNX Runtime cannot bound a hostile graph, so control flow, custom kernels, randomness and files beside
the model are refused before anything is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from models.errors import DurianError, InvalidInput, TooLarge

LARGEST = 2 * 1024**3
DOMAINS = ("", "ai.onnx")
OPSETS = range(11, 24)

_STANDARD = """
    Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast
    CastLike Ceil Celu Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum
    DepthToSpace DequantizeLinear Div Dropout DynamicQuantizeLinear Einsum Elu Equal Erf Exp Expand
    EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm GlobalAveragePool GlobalLpPool
    GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid HardSwish Hardmax
    Identity InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less LessOrEqual
    Log LogSoftmax LpNormalization LpPool MatMul MatMulInteger Max MaxPool Mean
    MeanVarianceNormalization Min Mish Mod Mul Neg NonZero Not OneHot Or PRelu Pad Pow QLinearConv
    QLinearMatMul QuantizeLinear RNN Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax
    ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize Round ScatterElements
    ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
    Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Upsample
    Where Xor
"""
ALLOWED = frozenset(_STANDARD.split())


def load_model(path: Path) -> onnx.ModelProto:
    """Parse and check a model file without running it or reading any other.

    Raises InvalidInput for what is not a self-contained ONNX feature extractor (code
    `not_onnx`, `external_data`, `operator` or `opset`), TooLarge above 2 GB.
    """
    try:
        if path.stat().st_size > LARGEST:
            raise TooLarge("The model file is larger than 2 GB: export a smaller one.", param="model")
        model = onnx.load_model(path, load_external_data=False)
        _check_self_contained(model)
        _check_operators(model)
        _check_form(model)
    except DurianError:
        raise
    except OSError:
        raise InvalidInput("The model file cannot be read.", code="not_onnx", param="model") from None
    except Exception:  # protobuf's errors share no base, and names that are no UTF-8 come as bytes
        raise InvalidInput("The file is not an ONNX model.", code="not_onnx", param="model") from None
    return model


def _check_self_contained(model: onnx.ModelProto) -> None:
    tensors = [*model.graph.initializer, *_tensor_attributes(model)]
    if any(t.data_location == onnx.TensorProto.EXTERNAL or t.external_data for t in tensors):
        message = "The model keeps weights in other files: save it as one file with onnx.save."
        raise InvalidInput(message, code="external_data", param="model")


def _tensor_attributes(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors


def _check_operators(model: onnx.ModelProto) -> None:
    """Raises InvalidInput (code `operator`) naming the operators that are not allowed."""
    refused = {_full_name(node) for node in model.graph.node if not _allowed(node)}
    refused |= {"sparse weights"} if model.graph.sparse_initializer else set()
    refused |= {f"function {function.name}" for function in model.functions}
    if refused:
        message = (
            f"Operators that Durian does not serve: {', '.join(sorted(refused)[:10])}. "
            "Export the model with standard ai.onnx operators and without control flow."
        )
        raise InvalidInput(message, code="operator", param="model")


def _allowed(node: onnx.NodeProto) -> bool:
    graphs = any(a.HasField("g") or a.graphs for a in node.attribute)
    return node.domain in DOMAINS and node.op_type in ALLOWED and not graphs


def _full_name(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else node.op_type


def _check_form(model: onnx.ModelProto) -> None:
    if opset_of(model) not in OPSETS:
        message = f"The model's opset is not {OPSETS.start} to {OPSETS.stop - 1}: export it with opset 17."
        raise InvalidInput(message, code="opset", param="model")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError:
        message = "The model breaks the rules of ONNX: check it with onnx.checker."
        raise InvalidInput(message, code="not_onnx", param="model") from None


def opset_of(model: onnx.ModelProto) -> int:
    """Version of the standard operators; 0 where none is declared."""
    return max((o.version for o in model.opset_import if o.domain in DOMAINS), default=0)
