"""Variants of backbones: int8 and fp16, proved and measured before they are published."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import onnx
import orjson
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.api.views import backbone_view
from app.commands import choices
from app.services.features import candidates
from models.backbone import (
    GRAPH,
    BackboneCard,
    Effect,
    Precision,
    SignalPreprocess,
    Tap,
    read_card,
    write_backbone,
)
from models.base import sha256
from models.errors import Conflict, CorruptArtefact, DurianError, InvalidInput
from models.fitspec import BackboneChoice
from models.graphs import prune
from models.manifest import BackboneRef
from models.runtime import Backbone, open_session
from models.shelf import SHIPPED, Shelf
from tests.training_support import blobs
from training.backbones.__main__ import main
from training.backbones.variants import integers, make
from training.backbones.variants.effect import cosine, paired
from training.backbones.variants.half import halve
from training.backbones.variants.int8 import quantise
from training.backbones.variants.make import add_variant
from training.backbones.variants.proof import prove
from training.evaluate import Evidence, cross_validate
from training.folds import make_folds
from training.methods import METHODS
from training.source import Source
from training.variants_rule import apart, loses_nothing, stand_ins

Weights = dict[str, NDArray[Any]]
WIDTH = 64


def graph(
    nodes: Sequence[onnx.NodeProto], weights: Weights, outputs: dict[str, Any], dims: Any, opset: int = 17
) -> bytes:
    """A model from `x` float32 `dims` to the named outputs."""
    made = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return bytes(model.SerializeToString())


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype(np.float32)


def dense_graph(opset: int = 17) -> bytes:
    """Gemm with bias, Relu, MatMul; taps `low` [N, 64] and `top` [N, 64]."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["one"], transB=1),
        helper.make_node("Relu", ["one"], ["low"]),
        helper.make_node("MatMul", ["low", "w2"], ["top"]),
    ]
    weights = {
        "w1": normal(WIDTH, WIDTH, seed=1, scale=0.1),
        "b1": normal(WIDTH, seed=2),
        "w2": normal(WIDTH, WIDTH, seed=3, scale=0.1),
    }
    outputs = {"low": ["N", WIDTH], "top": ["N", WIDTH]}
    return graph(nodes, weights, outputs, ["N", WIDTH], opset)


def picture_graph() -> bytes:
    """A stem over 3 channels, a residual block with a depthwise convolution, a mean: `top` [N, 8]."""
    nodes = [
        helper.make_node("Conv", ["x", "stem", "b8"], ["s"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["s"], ["a"]),
        helper.make_node("Conv", ["a", "deep"], ["d"], pads=[1, 1, 1, 1], group=8),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "point", "b8"], ["p"]),
        helper.make_node("Add", ["a", "p"], ["sum"]),
        helper.make_node("Conv", ["sum", "point"], ["last"]),
        helper.make_node("GlobalAveragePool", ["last"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["top"]),
    ]
    weights = {
        "stem": normal(8, 3, 3, 3, seed=1, scale=0.2),
        "b8": normal(8, seed=2),
        "deep": normal(8, 1, 3, 3, seed=3),
        "point": normal(8, 8, 1, 1, seed=4, scale=0.3),
    }
    return graph(nodes, weights, {"top": ["N", 8]}, ["N", 3, 8, 8])


def run(model: bytes, x: NDArray[Any], *names: str) -> list[NDArray[np.float32]]:
    found: list[NDArray[np.float32]] = open_session(model).run(list(names) or None, {"x": x})
    return found


def one_by_one(x: NDArray[Any]) -> list[dict[str, NDArray[Any]]]:
    return [{"x": row[None]} for row in x]


def stored(model: bytes) -> dict[str, NDArray[Any]]:
    tensors = onnx.load_model_from_string(model).graph.initializer
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in tensors}


def relative(a: NDArray[Any], b: NDArray[Any]) -> float:
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


# int8


def test_seven_bit_weights_never_overflow_sixteen_bits() -> None:
    assert np.iinfo(np.int16).max >= 2 * 255 * integers.SEVEN


def test_dense_layers_become_integers_and_stay_close() -> None:
    x = normal(20, WIDTH)
    model = quantise(dense_graph(), one_by_one(x))
    weights = [value for value in stored(model).values() if value.dtype == np.int8]
    assert [value.shape for value in weights] == [(WIDTH, WIDTH)] * 2
    assert max(np.abs(value).max() for value in weights) == integers.SEVEN
    for got, expected in zip(run(model, x), run(dense_graph(), x), strict=True):
        assert 0 < relative(got, expected) < 0.02


def test_a_loud_neighbour_changes_nothing() -> None:
    """One scale over the whole batch would drown the quiet example in the loud one's rounding."""
    x = normal(2, WIDTH)
    x[1] *= 1e4
    model = quantise(dense_graph(), one_by_one(normal(8, WIDTH)))
    together, alone = run(model, x, "top")[0], run(model, x[:1], "top")[0]
    np.testing.assert_allclose(together[:1], alone, rtol=1e-6)
    assert relative(alone, run(dense_graph(), x[:1], "top")[0]) < 0.02


def test_rows_of_zeros_give_the_bias() -> None:
    model = quantise(dense_graph(), one_by_one(np.zeros((2, WIDTH), np.float32)))
    zeros = np.zeros((1, WIDTH), np.float32)
    np.testing.assert_allclose(run(model, zeros, "low")[0], run(dense_graph(), zeros, "low")[0], atol=1e-6)


def test_the_mean_error_of_rounding_is_taken_out_of_the_bias() -> None:
    x = normal(64, WIDTH) + 3  # a mean that rounded weights would shift
    got, expected = (run(m, x, "low")[0] for m in (quantise(dense_graph(), one_by_one(x)), dense_graph()))
    shift = np.abs((got - expected).mean(axis=0)).mean()
    assert shift < 0.2 * np.abs(got - expected).std()


@pytest.mark.parametrize("opset", [13, 18])
def test_reductions_are_written_as_the_opset_says(opset: int) -> None:
    x = normal(4, WIDTH)
    got = run(quantise(dense_graph(opset), one_by_one(x)), x, "top")[0]
    assert relative(got, run(dense_graph(), x, "top")[0]) < 0.02


def test_convolutions_become_integers_but_the_stem() -> None:
    x = normal(12, 3, 8, 8)
    model = quantise(picture_graph(), one_by_one(x))
    nodes = onnx.load_model_from_string(model).graph.node
    reads = {node.output[0]: node.input[1] for node in nodes if node.op_type == "Conv"}
    assert reads.pop("s") == "stem"
    made = {node.output[0]: node.op_type for node in nodes}
    assert [made[name] for name in reads.values()] == ["DequantizeLinear"] * 3
    largest = {k: np.abs(v).max() for k, v in stored(model).items() if v.dtype == np.int8 and v.ndim == 4}
    assert set(largest.values()) == {integers.SEVEN, integers.EIGHT}  # depthwise filters have 8 bits
    assert relative(run(model, x)[0], run(picture_graph(), x)[0]) < 0.05


def test_tables_are_looked_up_in_int8() -> None:
    ids = np.array([[0, 5], [1999, 5]])
    table = normal(2000, WIDTH)
    table[5] *= 100
    nodes = [
        helper.make_node("Cast", ["x"], ["ids"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("MatMul", ["rows", "w"], ["y"]),
    ]
    weights = {"table": table, "w": normal(WIDTH, WIDTH, seed=1)}
    model = graph(nodes, weights, {"rows": ["N", 2, WIDTH], "y": ["N", 2, WIDTH]}, ["N", 2])
    small = quantise(model, [{"x": ids.astype(np.float32)}])
    assert len(small) < 0.3 * len(model)
    for got, row in zip(
        run(small, ids.astype(np.float32), "rows")[0].reshape(-1, WIDTH), ids.ravel(), strict=True
    ):
        np.testing.assert_allclose(got, table[row], atol=np.abs(table[row]).max() / 254)


def test_equal_graphs_and_examples_give_equal_bytes() -> None:
    for model, x in ((dense_graph(), normal(3, WIDTH)), (picture_graph(), normal(3, 3, 8, 8))):
        assert quantise(model, one_by_one(x)) == quantise(model, one_by_one(x))
        assert halve(model) == halve(model)


def test_what_cannot_be_quantised_is_refused() -> None:
    x = one_by_one(normal(2, WIDTH))
    with pytest.raises(InvalidInput, match="opset is 12") as old:
        quantise(dense_graph(12), x)
    plain = graph([helper.make_node("Relu", ["x"], ["y"])], {}, {"y": ["N", WIDTH]}, ["N", WIDTH])
    with pytest.raises(InvalidInput) as nothing:
        quantise(plain, x)
    assert (old.value.code, nothing.value.code) == ("opset", "nothing_to_quantise")
    with pytest.raises(InvalidInput, match="no layer") as nothing:
        halve(plain)
    assert nothing.value.code == "nothing_to_halve"


# fp16


@pytest.mark.parametrize(("model", "dims"), [(dense_graph(), (WIDTH,)), (picture_graph(), (3, 8, 8))])
def test_halves_stay_close_and_every_tap_can_be_cut(model: bytes, dims: tuple[int, ...]) -> None:
    x = normal(5, *dims)
    half = halve(model)
    assert {value.dtype for value in stored(half).values()} == {np.dtype(np.float16)}
    for value in onnx.load_model_from_string(model).graph.output:
        got, expected = run(prune(half, [value.name]), x)[0], run(model, x, value.name)[0]
        assert got.dtype == np.float32
        assert 0 < relative(got, expected) < 2e-3


def test_guards_and_huge_constants_stay_in_float32() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"]),
        helper.make_node("Max", ["y", "tiny"], ["floor"]),
        helper.make_node("Mul", ["floor", "huge"], ["top"]),
    ]
    weights = {"w": normal(WIDTH, WIDTH), "tiny": np.float32(1e-9), "huge": np.float32(1e9)}
    model = graph(nodes, weights, {"top": ["N", WIDTH]}, ["N", WIDTH])
    x = np.zeros((1, WIDTH), np.float32)
    np.testing.assert_allclose(run(halve(model), x)[0], run(model, x)[0])


# effect


def test_paired_differences_are_those_of_the_formula() -> None:
    mean, error = paired(np.array([1.0, 0, 1, 1]), np.array([1.0, 1, 1, 0]))
    assert mean == 0
    assert error == pytest.approx(np.sqrt(2 / 3) / 2)
    assert paired(np.array([1.0]), np.array([0.0])) == (-1.0, 0.0)


def test_cosine_of_equal_zero_and_opposite_rows() -> None:
    a = np.array([[1, 2], [0, 0], [1, 0], [0, 0]], np.float32)
    b = np.array([[1, 2], [0, 0], [-2, 0], [1, 0]], np.float32)
    np.testing.assert_allclose(cosine(a, b), [1, 1, -1, 0])


# a backbone and its variants


def backbone_folder(root: Path, model: bytes | None = None, id: str = "signal/tiny") -> Path:
    files = {GRAPH: model or dense_graph()}
    card = BackboneCard(
        id=id,
        modality="signal",
        preprocess=SignalPreprocess(points=WIDTH),
        input="x",
        taps=(Tap(name="low", dim=WIDTH, depth=0.5), Tap(name="top", dim=WIDTH, depth=1)),
        default_tap="top",
        parameters=2 * WIDTH * WIDTH,
        licence="MIT",
        source="a test",
        files={name: sha256(data) for name, data in files.items()},
    )
    write_backbone(root / id, card, files)
    return root / id


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return backbone_folder(tmp_path / "there")


@pytest.fixture
def task(tmp_path: Path) -> Path:
    """40 signals of two classes that a line separates, and one without a label."""
    y = np.arange(40) % 2
    x = normal(40, WIDTH) + np.where(y, 0.5, -0.5)[:, None].astype(np.float32)
    rows = [{"input": row.tolist(), "label": f"class {label}"} for row, label in zip(x, y, strict=True)]
    rows.append({"input": [1.0] * WIDTH, "label": None})
    path = tmp_path / "two.jsonl"
    path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    return path


@pytest.mark.parametrize("precision", get_args(Precision))
def test_a_variant_is_a_backbone_of_its_own_with_its_effect(
    folder: Path, task: Path, tmp_path: Path, precision: Precision
) -> None:
    told: list[object] = []
    card = add_variant(folder, precision, task, tmp_path / "root", told.append)
    original = read_card(folder)
    assert card == read_card(tmp_path / "root" / f"signal/tiny-{precision}")
    assert card.variant_of == BackboneRef(id=original.id, digest=original.digest)
    assert card.digest != original.digest
    assert (card.precision, card.taps, card.parameters) == (precision, original.taps, original.parameters)
    effect = card.effect
    assert effect is not None
    assert (effect.task, effect.kind, effect.examples, effect.metric) == (
        "two",
        "classification",
        40,
        "accuracy",
    )
    assert effect.hits == pytest.approx(effect.variant - effect.original)
    assert effect.agreement is not None
    assert effect.agreement > 0.9
    assert 0.999 < effect.cosine_least <= effect.cosine_mean < 1
    assert effect.bytes == (tmp_path / "root" / card.id / GRAPH).stat().st_size < effect.bytes_original
    assert effect.speed > 0
    assert len(told) == 1


def test_the_same_variant_again_is_the_published_one(folder: Path, task: Path, tmp_path: Path) -> None:
    cards = [add_variant(folder, "int8", task, tmp_path / "root", lambda line: None) for _ in range(2)]
    assert cards[0] == cards[1]


def test_other_calibration_does_not_replace_a_variant(folder: Path, task: Path, tmp_path: Path) -> None:
    add_variant(folder, "int8", task, tmp_path / "root", lambda line: None)
    other = tmp_path / "other.jsonl"
    other.write_bytes(b"\n".join(task.read_bytes().splitlines()[:12]))
    with pytest.raises(Conflict, match="calibrated otherwise"):
        add_variant(folder, "int8", other, tmp_path / "root", lambda line: None)


def test_regression_and_multilabel_have_their_own_figures(folder: Path, tmp_path: Path) -> None:
    x = normal(30, WIDTH)
    numbers = [{"input": row.tolist(), "label": float(row[0])} for row in x]
    marks = [{"input": row.tolist(), "label": ["a"] * bool(row[0] > 0) + ["b"]} for row in x]
    found = []
    for name, rows in (("numbers", numbers), ("marks", marks)):
        path = tmp_path / f"{name}.jsonl"
        path.write_bytes(b"\n".join(map(orjson.dumps, rows)))
        card = add_variant(folder, "int8", path, tmp_path / name, lambda line: None)
        assert card.effect is not None
        found.append(card.effect)
    regression, multilabel = found
    assert (regression.metric, regression.hits, regression.agreement) == ("rmse", None, None)
    assert (multilabel.metric, multilabel.method) == ("micro_f1", "logistic")
    assert multilabel.agreement is not None


def refused(folder: Path, task: Path | None, root: Path) -> DurianError:
    with pytest.raises(DurianError) as error:
        add_variant(folder, "int8", task, root, lambda line: None)
    assert not list(root.rglob("*.*")), "a refused variant leaves nothing"
    return error.value


def test_no_variant_without_a_task_that_fits(folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert refused(folder, None, root).code == "task_required"
    assert refused(folder, tmp_path / "absent.jsonl", root).code == "not_found"
    texts, single = tmp_path / "texts.jsonl", tmp_path / "single.jsonl"
    texts.write_text('{"input": "good", "label": "a"}\n{"input": "bad", "label": "b"}\n')
    assert refused(folder, texts, root).code == "task_mismatch"
    rows = [{"input": row.tolist(), "label": str(i)} for i, row in enumerate(normal(3, WIDTH))]
    single.write_bytes(b"\n".join(map(orjson.dumps, rows)))
    assert refused(folder, single, root).code == "too_few_examples"


def test_a_variant_has_no_variants(folder: Path, task: Path, tmp_path: Path) -> None:
    add_variant(folder, "int8", task, tmp_path / "root", lambda line: None)
    error = refused(tmp_path / "root" / "signal" / "tiny-int8", task, tmp_path / "second")
    assert error.code == "variant_of_variant"


@pytest.mark.parametrize(("op", "code"), [("Log", "non_finite"), ("ReduceMax", "batch_variance")])
def test_an_unproved_variant_never_appears(
    folder: Path, task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, op: str, code: str
) -> None:
    """A conversion gone wrong: the logarithm of negative numbers, or a maximum over the whole batch."""
    nodes = [
        helper.make_node(op, ["x"], ["bad"]),
        helper.make_node("Add", ["x", "bad"], ["low"]),
        helper.make_node("Identity", ["low"], ["top"]),
    ]
    broken = graph(nodes, {}, {"low": ["N", WIDTH], "top": ["N", WIDTH]}, ["N", WIDTH])
    monkeypatch.setattr(make, "quantise", lambda model, feeds: broken)
    assert refused(folder, task, tmp_path / "root").code == code


def test_an_unrepeatable_graph_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["low"]),
        helper.make_node("Identity", ["low"], ["top"]),
    ]
    model = graph(nodes, {}, {"low": ["N", WIDTH], "top": ["N", WIDTH]}, ["N", WIDTH])
    with pytest.raises(CorruptArtefact) as error:
        prove(Backbone(backbone_folder(tmp_path, model)), list(normal(2, WIDTH)), "int8")
    assert error.value.code == "not_repeatable"


def test_the_command_prints_the_card_or_the_refusal(
    folder: Path, task: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ["variant", "signal/tiny", "--precision", "int8", "--root", str(tmp_path / "root")]
    given += ["--roots", str(tmp_path / "there"), str(tmp_path / "root")]
    assert main(given) == 1
    assert orjson.loads(capfd.readouterr().out)["error"]["code"] == "task_required"
    assert main([*given, "--task", str(task)]) == 0
    card = orjson.loads(capfd.readouterr().out)
    assert (card["id"], card["effect"]["task"]) == ("signal/tiny-int8", "two")


def test_the_command_line_knows_every_precision() -> None:
    assert get_args(choices.Precision) == get_args(Precision)


# cards, listing, auto


def test_cards_without_a_variant_keep_their_bytes() -> None:
    for card in Shelf([SHIPPED]).list():
        written = orjson.loads((SHIPPED / card.id / "card.json").read_bytes())
        assert card.model_dump(mode="json").keys() <= written.keys() | {"baseline"}


def test_the_api_shows_the_effect(folder: Path, task: Path, tmp_path: Path) -> None:
    card = add_variant(folder, "int8", task, tmp_path / "root", lambda line: None)
    view = backbone_view(card)
    assert (view.variant_of, view.precision, view.effect) == (card.variant_of, "int8", card.effect)
    assert backbone_view(read_card(folder)).effect is None


def _card_of(root: Path, id: str, *, precision: Precision | None = None, speed: float = 2.0) -> str:
    """Write a backbone, or a variant of `signal/tiny`, with nothing but its card to tell it apart."""
    folder = backbone_folder(root, dense_graph(17 if precision is None else 18), id)
    card = read_card(folder)
    if precision is not None:
        original = read_card(root / "signal" / "tiny")
        effect = Effect(
            task="t", kind="regression", examples=1, method="ridge", metric="rmse", original=1, variant=1,
            hits=None, hits_error=None, loss=0, loss_error=0, agreement=None, cosine_mean=1, cosine_least=1,
            bytes=1, bytes_original=2, speed=speed,
        )  # fmt: skip
        of = BackboneRef(id=original.id, digest=original.digest)
        card = card.model_copy(update={"variant_of": of, "precision": precision, "effect": effect})
        write_backbone(folder, card, {})
    return id


def test_auto_considers_the_variants_that_suit_the_device(tmp_path: Path) -> None:
    original, other = _card_of(tmp_path, "signal/tiny"), _card_of(tmp_path, "signal/zebra")
    small = _card_of(tmp_path, "signal/tiny-int8", precision="int8")
    half = _card_of(tmp_path, "signal/tiny-fp16", precision="fp16", speed=0.5)
    shelf = Shelf([tmp_path])
    assert [card.id for card in candidates(shelf, "signal")] == [original, other, small]
    assert [card.id for card in candidates(shelf, "signal", "cuda")] == [original, other, half]


def test_auto_leaves_out_variants_that_are_slow_or_alone(tmp_path: Path) -> None:
    original = _card_of(tmp_path, "signal/tiny")
    _card_of(tmp_path, "signal/tiny-int8", precision="int8", speed=0.9)
    assert [card.id for card in candidates(Shelf([tmp_path]), "signal")] == [original]
    alone = tmp_path / "alone" / "signal" / "quick-int8"
    alone.parent.mkdir(parents=True)
    _card_of(tmp_path, "signal/quick-int8", precision="int8")
    (tmp_path / "signal" / "quick-int8").rename(alone)
    assert candidates(Shelf([tmp_path / "alone"]), "signal") == []


def evidence(noise: float = 0.0) -> Evidence:
    problem = blobs("classification")
    problem = problem.take(np.arange(len(problem)))
    object.__setattr__(problem, "X", problem.X + noise * normal(*problem.X.shape, seed=9))
    method = METHODS["logistic"]
    return cross_validate(method, problem, [{"C": 10.0}], make_folds(problem))[0]


def test_a_variant_that_is_equal_loses_nothing_and_a_worse_one_does() -> None:
    same, worse = evidence(), evidence(noise=5.0)
    assert loses_nothing(same, evidence())
    assert not loses_nothing(worse, same)
    assert loses_nothing(same, worse)


def test_without_evidence_the_original_stays() -> None:
    some = evidence()
    none = Evidence(some.setting, some.problem.take(np.arange(0)), some.logits[:0], 1.0)
    assert not loses_nothing(none, none)
    assert not loses_nothing(some, none)


def test_variants_stand_in_only_for_their_own_original() -> None:
    problem = blobs("classification")

    def source(name: str, of: str | None = None, tap: str = "top") -> Source:
        choice = BackboneChoice(id=name, digest=name, folder="nowhere", taps=(tap,), variant_of=of)
        return Source(choice, tap, problem, uses_names=False)

    one, two, small, alone = source("one"), source("two"), source("one-int8", "one"), source("x", "absent")
    originals, variants = apart([one, two, small, alone])
    assert (originals, variants) == ([one, two, alone], [small])
    assert [found.backbone.id for found in stand_ins(one, variants)] == ["one-int8"]
    assert stand_ins(two, variants) == []
    assert stand_ins(source("one", tap="low"), variants) == []
