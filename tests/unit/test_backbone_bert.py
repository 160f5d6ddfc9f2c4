"""The BERT graph against its formulas, written out in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from models.layouts import layouts
from models.runtime import open_session
from training.backbones.bert import BertConfig, tap_names, write_bert

Array = NDArray[Any]
CONFIG = BertConfig(layers=2, heads=2, hidden=8, epsilon=1e-12)
VOCABULARY, INNER, PLACES = 20, 12, 10


@pytest.fixture(scope="module")
def weights() -> dict[str, Array]:
    draw = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {
        "embeddings.word_embeddings.weight": (VOCABULARY, 8),
        "embeddings.position_embeddings.weight": (PLACES, 8),
        "embeddings.token_type_embeddings.weight": (2, 8),
        "embeddings.LayerNorm.weight": (8,),
        "embeddings.LayerNorm.bias": (8,),
    }
    dense = {
        "attention.self.query": (8, 8),
        "attention.self.key": (8, 8),
        "attention.self.value": (8, 8),
        "attention.output.dense": (8, 8),
        "intermediate.dense": (INNER, 8),
        "output.dense": (8, INNER),
    }
    for i in range(CONFIG.layers):
        prefix = f"encoder.layer.{i}."
        for name, shape in dense.items():
            shapes |= {f"{prefix}{name}.weight": shape, f"{prefix}{name}.bias": shape[:1]}
        for name in ("attention.output", "output"):
            shapes |= {f"{prefix}{name}.LayerNorm.{part}": (8,) for part in ("weight", "bias")}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def by_hand(weights: dict[str, Array], ids: list[int]) -> dict[str, Array]:
    """One text without padding, in float64: the taps by name."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}

    def dense(x: Array, name: str) -> Array:
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(x: Array, name: str) -> Array:
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + CONFIG.epsilon)
        return x * w[name + ".LayerNorm.weight"] + w[name + ".LayerNorm.bias"]

    def attend(x: Array, prefix: str) -> Array:
        q, k, v = (dense(x, prefix + part) for part in ("query", "key", "value"))
        heads = []
        for part in (slice(0, 4), slice(4, 8)):
            scores = np.exp(q[:, part] @ k[:, part].T / math.sqrt(4))
            heads.append(scores / scores.sum(-1, keepdims=True) @ v[:, part])
        return np.concatenate(heads, axis=-1)

    def layer(x: Array, prefix: str) -> Array:
        context = dense(attend(x, prefix + "attention.self."), prefix + "attention.output.dense")
        x = norm(x + context, prefix + "attention.output")
        inner = dense(x, prefix + "intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        return norm(x + dense(inner, prefix + "output.dense"), prefix + "output")

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings")
    states = [x]
    for i in range(CONFIG.layers):
        x = layer(x, f"encoder.layer.{i}.")
        states.append(x)
    taps = {f"layer_{i}": state.mean(0) for i, state in enumerate(states)}
    taps |= {f"layer_{i}_stat": np.append(state.mean(0), state.std(0)) for i, state in enumerate(states)}
    taps["first_word"] = states[-2][1]
    return taps | {"sentence": x.mean(0) / np.linalg.norm(x.mean(0))}


def test_padded_batch_matches_the_formulas(weights: dict[str, Array]) -> None:
    texts = [[3, 1, 4, 1, 5, 9], [2, 8], [6, 5, 3]]
    ids = np.array([text + [7] * (6 - len(text)) for text in texts])
    mask = np.array([[1] * len(text) + [0] * (6 - len(text)) for text in texts])
    session = open_session(write_bert(weights, CONFIG))
    names = tap_names(CONFIG)
    got = session.run(list(names), {"input_ids": ids, "attention_mask": mask})
    for row, text in enumerate(texts):
        expected = by_hand(weights, text)
        for name, features in zip(names, got, strict=True):
            np.testing.assert_allclose(features[row], expected[name], atol=1e-5, err_msg=name)


def test_dense_layers_see_no_padding(weights: dict[str, Array]) -> None:
    model = onnx.load_from_string(write_bert(weights, CONFIG))
    dense = [node.output[0] for node in model.graph.node if node.op_type == "Gemm"]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in dense)
    ids = np.full((3, 6), 7)
    mask = np.array([[1] * 6, [1] * 2 + [0] * 4, [1] * 3 + [0] * 3])
    found = open_session(model.SerializeToString()).run(dense, {"input_ids": ids, "attention_mask": mask})
    assert {len(rows) for rows in found} == {6 + 2 + 3}


def test_tokens_without_padding_are_not_taken_for_examples(weights: dict[str, Array]) -> None:
    model = onnx.load_from_string(write_bert(weights, CONFIG))
    dense = [node.output[0] for node in model.graph.node if node.op_type == "Gemm"]
    assert layouts(model, dense) == {}  # a graft cannot be cut there
    assert layouts(model, ["layer_1"]).keys() == {"layer_1"}


def test_equal_weights_give_equal_bytes(weights: dict[str, Array]) -> None:
    assert write_bert(weights, CONFIG) == write_bert(dict(reversed(weights.items())), CONFIG)


def test_a_lower_tap_needs_less_of_the_graph(weights: dict[str, Array]) -> None:
    graph = onnx.load_from_string(write_bert(weights, CONFIG)).graph
    sizes = []
    for tap in ("layer_0", "layer_0_stat", "layer_1", "layer_1_stat", "layer_2", "sentence"):
        needed, count = {tap}, 0
        for node in reversed(graph.node):
            if needed.intersection(node.output):
                needed.update(node.input)
                count += 1
        sizes.append(count)
    assert sizes == sorted(set(sizes))
    assert sizes[0] < sizes[-1] / 3
