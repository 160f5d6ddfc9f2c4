"""A BERT encoder (Devlin et al. 2018, arXiv:1810.04805) as an ONNX graph, written from its weights alone.

Inputs `input_ids`, `attention_mask`: int64 [N, L]. Outputs are taps, float32 [N, H]: the mean over the
tokens that the mask keeps, of the embeddings (`layer_0`) and of each layer (`layer_i`), and the last one
scaled to unit length (`sentence`; Reimers & Gurevych 2019, arXiv:1908.10084). `layer_i_stat` [N, 2H] is
the mean and the standard deviation over those tokens. `first_word` is the first word piece alone, in the
context that all layers but the last have given it: what kind of question or command a text is, its first
word says and a mean drowns.

Only the T tokens that the mask keeps go through the dense layers, flat [T, H]: no work is spent on padding,
and an example's answer does not depend on its neighbours' lengths. They are scattered to [N, L, ...] for
attention, for pooling, and between layers, where a graft may cut (`models.cut`): copies, next to nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.backbones.forms import both_forms, stat, width
from training.backbones.graph import FLOAT, INT64, Dims, GraphWriter

Weights = Mapping[str, NDArray[np.float32]]

SENTENCE = "sentence"
FIRST_WORD = "first_word"
MASKED = -1e9  # added to the score of a padded token: its softmax weight is exactly 0
FEWEST = 1e-9  # sentence-transformers' floor of the token count
SHORTEST = 1e-12  # torch.nn.functional.normalize's floor of the length


@dataclass(frozen=True)
class BertConfig:
    """The numbers of `config.json` that decide the graph."""

    layers: int
    heads: int
    hidden: int
    epsilon: float

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


def tap_names(config: BertConfig) -> tuple[str, ...]:
    """The taps from the bottom to the top."""
    lower, last = range(config.layers), [config.layers]
    return (*both_forms("layer", lower), FIRST_WORD, *both_forms("layer", last), SENTENCE)


def write_bert(weights: Weights, config: BertConfig) -> bytes:
    """The encoder as ONNX bytes. `weights` has transformers' names (`embeddings.word_embeddings.weight`)."""
    encoder = _Encoder(weights, config)
    states = encoder.embeddings()
    for i in range(config.layers):
        encoder.pool(states, f"layer_{i}")
        if i == config.layers - 1:
            encoder.first(states, out=FIRST_WORD)
        states = encoder.layer(states, f"encoder.layer.{i}.")
    encoder.unit(encoder.pool(states, f"layer_{config.layers}"), out=SENTENCE)
    ids: tuple[int, Dims] = (INT64, ("N", "L"))
    inputs = {"input_ids": ids, "attention_mask": ids}
    widths: dict[str, Dims] = {name: ("N", width(name, config.hidden)) for name in tap_names(config)}
    return encoder.graph.to_bytes("bert", inputs, widths)


class _Encoder:
    """The graph in the making, and the tensors that all layers share."""

    def __init__(self, weights: Weights, config: BertConfig) -> None:
        self.graph = GraphWriter()
        self.weights = weights
        self.config = config
        g = self.graph
        self.shape = g.node("Shape", "attention_mask")
        mask = g.node("Reshape", "attention_mask", g.ints(-1))
        self.real = g.node("Reshape", g.node("NonZero", mask), g.ints(-1))  # [T]: where the tokens are
        number = g.node("Sub", g.node("CumSum", mask, g.constant("first_axis", np.array(0))), g.ints(1))
        # [N * L]: which token stands there; on a padded place the one before, which nothing looks at
        self.token = g.node("Max", number, g.ints(0))
        keep = g.node("Cast", "attention_mask", to=FLOAT)
        self.keep = g.node("Unsqueeze", keep, g.ints(1))  # [N, 1, L]
        self.kept = g.node("Unsqueeze", keep, g.ints(2))  # [N, L, 1]
        count = g.node("Max", g.node("ReduceSum", keep, g.ints(1)), g.scalar(FEWEST))  # [N, 1]
        self.count = g.node("Unsqueeze", count, g.ints(1))  # [N, 1, 1]
        self.root = g.node("Sqrt", count)
        drop = g.node("Mul", g.node("Sub", g.scalar(1.0), self.keep), g.scalar(MASKED))
        self.bias = g.node("Unsqueeze", drop, g.ints(1))  # [N, 1, 1, L]
        self.padded = g.node("Concat", self.shape, g.ints(config.hidden), axis=0)  # N, L, H
        self.split = g.node("Concat", self.shape, g.ints(3, config.heads, config.head_dim), axis=0)

    def embeddings(self) -> str:
        """Word + position + token type 0, normalised: [N, L, H]."""
        g = self.graph
        prefix = "embeddings."
        words = g.constant("words", self.weights[prefix + "word_embeddings.weight"])
        places = self.weights[prefix + "position_embeddings.weight"]
        table = g.constant("places", places + self.weights[prefix + "token_type_embeddings.weight"][0])
        length = g.node("Slice", self.shape, g.ints(1), g.ints(2))
        place = g.node("Slice", table, g.ints(0), length)
        total = g.node("Add", g.node("Gather", words, "input_ids"), place)
        return self.pad(self.norm(self.flat(total), prefix), self.padded)

    def flat(self, states: str) -> str:
        """The tokens alone: [N, L, H] -> [T, H]."""
        g = self.graph
        return g.node("Gather", g.node("Reshape", states, g.ints(-1, self.config.hidden)), self.real)

    def pad(self, tokens: str, shape: str) -> str:
        """[T, ...] -> [N, L, ...], by the shape given."""
        return self.graph.node("Reshape", self.graph.node("Gather", tokens, self.token), shape)

    def layer(self, states: str, prefix: str) -> str:
        """One post-norm transformer layer: [N, L, H] -> [N, L, H]."""
        g = self.graph
        tokens = self.flat(states)
        context = self.attention(tokens, prefix + "attention.self.")
        mixed = self.dense(context, prefix + "attention.output.dense")
        tokens = self.norm(g.node("Add", mixed, tokens), prefix + "attention.output.")
        inner = self.gelu(self.dense(tokens, prefix + "intermediate.dense"))
        outer = self.dense(inner, prefix + "output.dense")
        return self.pad(self.norm(g.node("Add", outer, tokens), prefix + "output."), self.padded)

    def attention(self, tokens: str, prefix: str) -> str:
        """Multi-head attention, [T, H] -> [T, H]: one Gemm makes queries, keys and values of all heads."""
        g = self.graph
        parts = [prefix + name for name in ("query", "key", "value")]
        scale = 1 / math.sqrt(self.config.head_dim)
        weight = np.concatenate([self.weights[part + ".weight"] for part in parts])
        bias = np.concatenate([self.weights[part + ".bias"] for part in parts])
        hidden = self.config.hidden
        weight[:hidden] *= np.float32(scale)  # the queries carry the scale of the scores
        bias[:hidden] *= np.float32(scale)
        qkv = self.gemm(tokens, prefix + "qkv", weight, bias)
        qkv = g.node("Transpose", self.pad(qkv, self.split), perm=[2, 0, 3, 1, 4])
        query, key, value = (g.node("Gather", qkv, g.constant(f"pick_{i}", np.array(i))) for i in range(3))
        scores = g.node("MatMul", query, g.node("Transpose", key, perm=[0, 1, 3, 2]))
        weights = g.node("Softmax", g.node("Add", scores, self.bias), axis=-1)
        context = g.node("Transpose", g.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return self.flat(context)

    def dense(self, x: str, prefix: str) -> str:
        return self.gemm(x, prefix, self.weights[prefix + ".weight"], self.weights[prefix + ".bias"])

    def gemm(self, x: str, name: str, weight: NDArray[np.float32], bias: NDArray[np.float32]) -> str:
        """`x @ weight.T + bias` for weight [out, in]."""
        g = self.graph
        return g.node("Gemm", x, g.constant(name + ".weight", weight.T), g.constant(name + ".bias", bias))

    def norm(self, x: str, prefix: str) -> str:
        g = self.graph
        scale, bias = (
            g.constant(name, self.weights[name])
            for name in (prefix + "LayerNorm.weight", prefix + "LayerNorm.bias")
        )
        return g.node("LayerNormalization", x, scale, bias, axis=-1, epsilon=self.config.epsilon)

    def gelu(self, x: str) -> str:
        """`x / 2 * (1 + erf(x / sqrt 2))`, in the shape that ONNX Runtime fuses into one kernel."""
        g = self.graph
        erf = g.node("Erf", g.node("Div", x, g.scalar(math.sqrt(2))))
        return g.node("Mul", g.node("Mul", x, g.node("Add", erf, g.scalar(1.0))), g.scalar(0.5))

    def pool(self, states: str, name: str) -> str:
        """The taps of [N, L, H] over the tokens that the mask keeps: the mean [N, H], which is returned,
        and `<name>_stat`."""
        g = self.graph
        centre = g.node("Div", g.node("MatMul", self.keep, states), self.count)  # [N, 1, H]
        mean = g.node("Squeeze", centre, g.ints(1), out=name)
        centred = g.node("Mul", g.node("Sub", states, centre), self.kept)
        deviation = g.node("Div", g.node("ReduceL2", centred, axes=[1], keepdims=0), self.root)
        g.node("Concat", mean, deviation, axis=1, out=stat(name))
        return mean

    def first(self, states: str, out: str) -> str:
        """The token after the opening one: [N, L, H] -> [N, H]."""
        g = self.graph
        return g.node("Gather", states, g.constant("after_opening", np.array(1)), axis=1, out=out)

    def unit(self, x: str, out: str) -> str:
        """Scaled to Euclidean length 1."""
        g = self.graph
        length = g.node("ReduceL2", x, axes=[1], keepdims=1)
        return g.node("Div", x, g.node("Max", length, g.scalar(SHORTEST)), out=out)
