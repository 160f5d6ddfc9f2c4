"""The import of ONNX files: what is adapted how, and what is refused with which code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.backbone import GRAPH, BackboneCard, TextPreprocess
from models.errors import Conflict, DurianError, InvalidInput
from models.runtime import open_session
from tests import onnx_models as tiny
from training.backbones import onnx_import, probe
from training.backbones.adapt import Adapted, adapt
from training.backbones.onnx_import import import_onnx
from training.backbones.operators import load_model
from training.backbones.part import choose_part
from training.backbones.reductions import reduce_per_item
from training.backbones.spec import read_spec

FRONTEND = {"model": "front.onnx", "window": 3, "hop": 2}
AUDIO_SPEC = {"sample_rate": 1000, "seconds": 0.028, "frontend": FRONTEND}


def adapted(path: Path, spec: dict[str, Any], output: str | None = None, modality: Any = "image") -> Adapted:
    checked = read_spec(spec, modality)
    how = checked.pooling.frontend
    front = choose_part(load_model(path.parent / how.model), None, None, "frontend") if how else None
    return adapt(choose_part(load_model(path), None, output), checked, front)


def run(model: Adapted, **feeds: Any) -> Any:
    return open_session(model.graph).run(["embedding"], feeds)[0]


def images(count: int) -> Any:
    return np.random.default_rng(1).normal(size=(count, 3, 8, 8)).astype(np.float32)


def feature_map(path: Path, batch: Any) -> Any:
    return open_session(path.read_bytes()).run(["map"], {"x": batch})[0]


def test_channels_first_averages_over_space(tmp_path: Path) -> None:
    path = tiny.image_model(tmp_path / "m.onnx")
    model = adapted(path, tiny.IMAGE_SPEC | {"pool": "channels_first"}, "map")
    assert (model.input, model.dim) == ("image", 5)
    expected = feature_map(path, images(3)).mean((2, 3))
    np.testing.assert_allclose(run(model, image=images(3)), expected, atol=1e-6)


def test_channels_last_averages_all_but_the_last(tmp_path: Path) -> None:
    path = tiny.image_model(tmp_path / "m.onnx")
    model = adapted(path, tiny.IMAGE_SPEC | {"pool": "channels_last"}, "map")
    expected = feature_map(path, images(3)).mean((1, 2))
    np.testing.assert_allclose(run(model, image=images(3)), expected, atol=1e-6)


def test_what_the_output_does_not_need_is_left_out(tmp_path: Path) -> None:
    path = tiny.image_model(tmp_path / "m.onnx")
    model = adapted(path, tiny.IMAGE_SPEC | {"pool": "channels_first"}, "map")
    assert model.parameters == 5 * 3 * 2 * 2
    assert "MatMul" not in {node.op_type for node in onnx.load_from_string(model.graph).graph.node}


def test_frontend_windows_are_those_of_the_formula(tmp_path: Path) -> None:
    """28 samples are 7 frames of 4, windows start at frames 0, 2 and 4; the lead adds two silent frames."""
    tiny.loud_frontend(tmp_path / "front.onnx")
    path = tiny.window_model(tmp_path / "m.onnx")
    spec = AUDIO_SPEC | {"frontend": FRONTEND | {"lead": 0.008, "scale": 0.1, "shift": 2.0}}
    waves = np.random.default_rng(0).normal(size=(3, 28)).astype(np.float32)
    waves *= np.array([[1], [5], [20]], np.float32)
    led = np.concatenate([np.zeros((3, 8), np.float32), waves], axis=1).reshape(3, 9, 4)
    frames = np.maximum(led, led.max((1, 2), keepdims=True) - 1) * 0.1 + 2
    expected = np.mean([frames[:, start : start + 3].reshape(3, 12) for start in (0, 2, 4, 6)], axis=0)
    got = run(adapted(path, spec, modality="audio"), audio=waves)
    np.testing.assert_allclose(got, expected, atol=1e-5)


def test_a_whole_tensor_maximum_becomes_one_a_clip(tmp_path: Path) -> None:
    model = load_model(tiny.loud_frontend(tmp_path / "front.onnx"))
    waves = np.array([[1, 2, 3, 4], [100, 0, 0, 0]], np.float32)
    mixed = open_session(model.SerializeToString()).run(None, {"wave": waves})[0]
    reduce_per_item(model)
    session = open_session(model.SerializeToString())
    together = session.run(None, {"wave": waves})[0]
    assert mixed[0].min() == 99  # the fault: the loud clip lifts the other one's floor
    assert together[0].min() == 3
    for row in range(2):
        np.testing.assert_array_equal(session.run(None, {"wave": waves[row : row + 1]})[0][0], together[row])


def test_text_is_averaged_over_kept_tokens_with_token_types_zero(tmp_path: Path) -> None:
    path = tiny.text_model(tmp_path / "m.onnx")
    spec = read_spec({"pool": "channels_last"}, "text")
    model = adapt(choose_part(load_model(path), "ids", None), spec)
    table = onnx.numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    ids, mask = np.array([[5, 6, 7], [8, 0, 0]]), np.array([[1, 1, 1], [1, 0, 0]])
    got = run(model, input_ids=ids, attention_mask=mask)
    np.testing.assert_allclose(got, [table[[5, 6, 7]].mean(0) + 1, table[8] + 1], atol=1e-6)
    first = adapt(choose_part(load_model(path), "ids", None), read_spec({"pool": "first"}, "text"))
    np.testing.assert_allclose(run(first, input_ids=ids, attention_mask=mask), table[[5, 8]] + 1, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "modality", "field"),
    [
        ({"width": -1}, "image", "width"),
        ({"width": "wide"}, "image", "width"),
        ({"std": [1, 0, 1]}, "image", "std"),
        ({"mean": [float("nan"), 0, 0]}, "image", "mean"),
        ({"fit": "stretch"}, "image", "fit"),
        ({"kind": "audio"}, "image", "kind"),
        ({"rotate": True}, "image", "rotate"),
        ({"pool": "max"}, "image", "pool"),
        ({"frontend": FRONTEND}, "image", "frontend"),
        ({"seconds": float("inf")}, "audio", "seconds"),
        ({"seconds": 1e9}, "audio", "seconds"),
        ({"frontend": FRONTEND | {"hop": 0}}, "audio", "frontend.hop"),
        ({"frontend": FRONTEND | {"model": "../front.onnx"}}, "audio", "frontend.model"),
        ({"tokenizer": "/etc/passwd"}, "text", "tokenizer"),
        ({"points": 0}, "signal", "points"),
    ],
)
def test_a_wrong_spec_names_the_field(change: dict[str, Any], modality: Any, field: str) -> None:
    base = tiny.IMAGE_SPEC if modality == "image" else {}
    with pytest.raises(InvalidInput) as caught:
        read_spec(base | change, modality)
    assert (caught.value.code, caught.value.param) == ("preprocess", field)


def test_a_spec_that_is_no_object_is_refused() -> None:
    with pytest.raises(InvalidInput, match="JSON object"):
        read_spec([1, 2], "image")  # type: ignore[arg-type]


def loop(path: Path) -> Path:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"])],
        "body",
        [tiny.value("i", (), TensorProto.INT64), tiny.value("c", (), TensorProto.BOOL)],
        [tiny.value("d", (), TensorProto.BOOL)],
    )
    return tiny.one_node(path, "Loop", body=body)


def external(path: Path) -> Path:
    model = onnx.load(tiny.image_model(path))
    onnx.save(model, path, save_as_external_data=True, location="weights.bin", size_threshold=0)
    return path


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda p: p, "not_onnx"),
        (lambda p: (p.write_bytes(b"no model"), p)[1], "not_onnx"),
        (lambda p: (p.write_bytes(b""), p)[1], "opset"),
        (lambda p: tiny.one_node(p, "Gelu", domain="com.microsoft"), "operator"),
        (lambda p: tiny.one_node(p, "RandomNormalLike"), "operator"),
        (lambda p: tiny.one_node(p, "Loop"), "operator"),
        (loop, "operator"),
        (external, "external_data"),
    ],
    ids=["absent", "garbage", "empty", "custom", "random", "loop", "subgraph", "external"],
)
def test_what_is_no_plain_feature_extractor_is_refused(tmp_path: Path, make: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        load_model(make(tmp_path / "m.onnx"))
    assert caught.value.code == code
    assert str(tmp_path) not in caught.value.message


def outside(path: Path, location: str, *, constant: bool = False) -> Path:
    """A model whose weights are said to lie in another file."""
    model = onnx.load(tiny.image_model(path))
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == "w")
    if constant:
        node = helper.make_node("Constant", [], ["w"], value=tensor)
        model.graph.initializer.remove(tensor)
        model.graph.node.insert(0, node)
        tensor = model.graph.node[0].attribute[0].t
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("constant", [False, True], ids=["weight", "constant"])
@pytest.mark.parametrize("how", ["beside", "above", "absolute", "hardlink", "symlink", "unsaid"])
def test_files_beside_a_model_are_never_read(tmp_path: Path, how: str, constant: bool) -> None:
    """Neither way out of the folder, nor a link in it that looks like a file of the model's own."""
    secret, folder = tmp_path / "secret", tmp_path / "model"
    secret.write_bytes(np.zeros((5, 3, 2, 2), np.float32).tobytes())
    folder.mkdir()
    (folder / "w.bin").write_bytes(secret.read_bytes())
    if how in ("hardlink", "symlink"):
        (folder / "w.bin").unlink()
        (os.link if how == "hardlink" else os.symlink)(secret, folder / "w.bin")
    location = {"above": "../secret", "absolute": str(secret), "unsaid": ""}.get(how, "w.bin")
    path = outside(folder / "m.onnx", location, constant=constant)
    with pytest.raises(InvalidInput) as caught:
        load_model(path)
    assert caught.value.code == "external_data"
    assert str(tmp_path) not in caught.value.message


def test_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tiny.one_node(tmp_path / "m.onnx", "Relu")
    path.write_bytes(path.read_bytes().replace(b"Relu", b"Re\xff\xfe"))
    with pytest.raises(InvalidInput) as caught:
        load_model(path)
    assert caught.value.code == "not_onnx"


def test_the_message_names_the_operators(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"com\.microsoft\.Gelu"):
        load_model(tiny.one_node(tmp_path / "m.onnx", "Gelu", domain="com.microsoft"))


@pytest.mark.parametrize(
    ("model", "output", "change", "code"),
    [
        ({}, None, {}, "output"),
        ({}, "nothing", {}, "output"),
        ({"batch": 1}, "map", {}, "fixed_batch"),
        ({}, "map", {"width": 16}, "input_shape"),
        ({}, "map", {"dtype": "uint8"}, "input_type"),
        ({}, "map", {}, "pool"),
        ({}, "map", {"pool": "first"}, "pool"),
        ({}, "scores", {"pool": "channels_first"}, "pool"),
    ],
)
def test_a_model_that_does_not_fit_its_spec(
    tmp_path: Path, model: dict[str, Any], output: str | None, change: dict[str, Any], code: str
) -> None:
    path = tiny.image_model(tmp_path / "m.onnx", **model)
    with pytest.raises(InvalidInput) as caught:
        adapted(path, tiny.IMAGE_SPEC | change, output)
    assert caught.value.code == code


def test_several_outputs_are_listed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"2 outputs.*map, scores"):
        adapted(tiny.image_model(tmp_path / "m.onnx"), tiny.IMAGE_SPEC)


def test_too_short_a_clip_for_one_window(tmp_path: Path) -> None:
    tiny.loud_frontend(tmp_path / "front.onnx")
    path = tiny.window_model(tmp_path / "m.onnx")
    with pytest.raises(InvalidInput, match="give more seconds"):
        adapted(path, AUDIO_SPEC | {"frontend": FRONTEND | {"window": 8}}, modality="audio")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import the tiny image model, tried in this process (the child has its own test)."""
    monkeypatch.setattr(onnx_import, "probe", probe.examine)
    path = tiny.image_model(tmp_path / "m.onnx")

    def place(name: str = "mine", **change: Any) -> BackboneCard:
        given: dict[str, Any] = {
            "modality": "image",
            "input": None,
            "output": "map",
            "preprocess": tiny.IMAGE_SPEC | {"pool": "channels_first"},
            "target_root": tmp_path / "root",
        }
        return import_onnx(path, name=name, **(given | change))

    return place


def test_importing_twice_is_one_backbone_and_another_is_a_conflict(place: Any, tmp_path: Path) -> None:
    first = place(licence="MIT", source="somewhere")
    assert (first.id, first.licence, first.embedding_dim) == ("onnx/mine", "MIT", 5)
    assert place() == first
    with pytest.raises(Conflict, match="choose a new one"):
        place(preprocess=tiny.IMAGE_SPEC | {"pool": "channels_last"})
    assert [folder.name for folder in (tmp_path / "root/onnx").iterdir()] == ["mine"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", "Big", "x" * 65, ".hidden", "a b"])
def test_a_bad_name_is_refused(place: Any, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        place(name)
    assert caught.value.code == "name"


def test_a_failed_probe_leaves_nothing(place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        assert (folder / GRAPH).exists()
        raise InvalidInput("no", code="probe")

    monkeypatch.setattr(onnx_import, "probe", fail)
    with pytest.raises(InvalidInput):
        place()
    assert list((tmp_path / "root/onnx").iterdir()) == []


def test_a_text_model_needs_its_tokenizer(tmp_path: Path) -> None:
    path = tiny.text_model(tmp_path / "m.onnx")
    spec = {"pool": "channels_last"}
    with pytest.raises(InvalidInput) as caught:
        import_onnx(
            path, name="t", modality="text", input="ids", output=None, preprocess=spec, target_root=tmp_path
        )
    assert caught.value.code == "tokenizer"
    (tmp_path / TextPreprocess().tokenizer).write_text("{}")
    with pytest.raises(InvalidInput) as caught:
        import_onnx(
            path, name="t", modality="text", input="ids", output=None, preprocess=spec, target_root=tmp_path
        )
    assert caught.value.code == "tokenizer"


def test_a_model_that_mixes_its_batch_is_refused(place: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0], keepdims=1),
        helper.make_node("Sub", ["x", "mean"], ["y"]),
    ]
    dims = ("n", 3, 8, 8)
    tiny.save(tmp_path / "m.onnx", nodes, [tiny.value("x", dims)], [tiny.value("y", dims)])
    with pytest.raises(InvalidInput) as caught:
        place(output="y")
    assert caught.value.code == "batch_variance"


def test_a_model_that_gives_nan_is_refused(place: Any, tmp_path: Path) -> None:
    dims = ("n", 3, 8, 8)
    node = helper.make_node("Log", ["x"], ["y"])
    spec = tiny.IMAGE_SPEC | {"pool": "channels_first", "mean": [1, 1, 1]}
    tiny.save(tmp_path / "m.onnx", [node], [tiny.value("x", dims)], [tiny.value("y", dims)])
    with pytest.raises(InvalidInput) as caught:
        place(output="y", preprocess=spec)
    assert caught.value.code == "non_finite"


def test_every_error_is_one_of_ours(tmp_path: Path) -> None:
    """Any cut of a valid file is refused in words, whatever protobuf or the checker think of it."""
    path = tiny.image_model(tmp_path / "m.onnx")
    data = path.read_bytes()
    for end in range(0, len(data), 37):
        path.write_bytes(data[:end])
        with pytest.raises(DurianError):
            adapted(path, tiny.IMAGE_SPEC | {"pool": "channels_first"}, "map")


def test_the_mask_and_token_types_need_not_be_told_from_the_ids(tmp_path: Path) -> None:
    assert choose_part(load_model(tiny.text_model(tmp_path / "m.onnx")), None, None).input == "ids"
    dims = ("n", 3)
    two = [tiny.value(name, dims) for name in ("a", "b")]
    tiny.save(tmp_path / "m.onnx", [helper.make_node("Add", ["a", "b"], ["y"])], two, [tiny.value("y", dims)])
    with pytest.raises(InvalidInput, match="2 inputs, so name the one to use: a, b"):
        choose_part(load_model(tmp_path / "m.onnx"), None, None)


def test_a_width_that_cannot_be_inferred_is_the_declared_one(tmp_path: Path) -> None:
    """The model's own word is taken, and the trial run finds out whether it is kept."""
    nodes = [
        helper.make_node("Shape", ["x"], ["shape"]),
        helper.make_node("Gather", ["shape", "order"], ["turned"]),
        helper.make_node("Reshape", ["x", "turned"], ["y"]),
    ]
    order = {"order": np.array([0, 3, 1, 2], np.int64)}
    for told in (8, "d"):
        declared = [tiny.value("y", ("n", told, 3, 8))]
        tiny.save(tmp_path / "m.onnx", nodes, [tiny.value("x", ("n", 3, 8, 8))], declared, order)
        if told == 8:
            assert adapted(tmp_path / "m.onnx", tiny.IMAGE_SPEC | {"pool": "channels_first"}).dim == 8
        else:
            with pytest.raises(InvalidInput, match="width of the output is not fixed"):
                adapted(tmp_path / "m.onnx", tiny.IMAGE_SPEC | {"pool": "channels_first"})
