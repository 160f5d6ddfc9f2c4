"""Encoders of the model hub, from tiny random ones in a local folder: parity, pooling, refusals."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import ASTFeatureExtractor

from models.backbone import AudioPreprocess, BackboneCard, ImagePreprocess, TextPreprocess
from models.errors import Conflict, CorruptArtefact, DurianError, InvalidInput, NotFound, Unavailable
from models.modalities.image import encode_png
from models.modalities.text import TextPreprocessor
from models.runtime import Backbone
from models.shelf import Shelf
from tests import hub_models as tiny
from training.backbones import hub
from training.backbones.__main__ import main
from training.backbones.draft import levels
from training.backbones.hub import audio, image, spectrogram, text
from training.backbones.hub.files import check_folder, licence_of

Add = Callable[..., BackboneCard]
TEXTS = ["The cat sat on the mat", "tea", "a red dog ran under the blue moon slowly", "unknown words here"]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """Add the network saved in `tmp_path/source` as hub/some/model."""

    def add(name: str = "some/model") -> BackboneCard:
        return hub.add(name, weights=tmp_path / "source", root=tmp_path / "root", emit=lambda line: None)

    return add


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


def served(tmp_path: Path, card: BackboneCard) -> Backbone:
    return Backbone(Shelf([tmp_path / "root"]).get(card.id)[1])


def states(network: Any, words: str, most: int) -> NDArray[Any]:
    """The original's last states of one text, [L, H], tokenised by hand."""
    known = [tiny.VOCABULARY.index(w) if w in tiny.VOCABULARY else 1 for w in words.lower().split()]
    ids = [2, *known[: most - 2], 3]
    with torch.no_grad():
        return network(input_ids=torch.tensor([ids])).last_hidden_state[0].numpy()


@pytest.mark.parametrize("family", ["Bert", "Roberta", "MPNet", "DistilBert", "Electra", "Albert"])
def test_text_encoders_give_what_the_original_gives(
    add: Add, source: Path, tmp_path: Path, family: str
) -> None:
    network = tiny.save(source, family)
    tiny.save_tokenizer(source)
    card = add()
    assert (card.id, card.modality, card.default_tap, card.embedding_dim) == (
        "hub/some/model",
        "text",
        "sentence",
        8,
    )
    assert [(tap.name, tap.dim, tap.depth) for tap in card.taps] == [
        ("layer_0", 8, 0),
        ("layer_0_stat", 16, 0),
        ("layer_1", 8, 0.5),
        ("layer_1_stat", 16, 0.5),
        ("layer_2_stat", 16, 1),  # whose mean is the sentence
        ("sentence", 8, 1),
    ]
    assert isinstance(card.preprocess, TextPreprocess)
    assert card.preprocess.max_tokens == (32 if family in ("Roberta", "MPNet") else 34)
    backbone = served(tmp_path, card)
    contents = [words.encode() for words in (*TEXTS, "cat " * 60)]
    got = backbone.embed(contents, ["sentence", "layer_0", "layer_2_stat"])
    tops = [states(network, c.decode(), card.preprocess.max_tokens) for c in contents]
    np.testing.assert_allclose(got["sentence"], [top.mean(0) for top in tops], atol=1e-4)
    stats = [np.concatenate([top.mean(0), top.std(0)]) for top in tops]
    np.testing.assert_allclose(got["layer_2_stat"], stats, atol=1e-4)
    alone = [backbone.embed([content], ["layer_0"])["layer_0"][0] for content in contents]
    np.testing.assert_allclose(got["layer_0"], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("pooling", "row"), [("cls_token", 0), ("lasttoken", -1), ("mean_tokens", slice(None))]
)
@pytest.mark.parametrize("unit", [False, True])
def test_pooling_and_scaling_are_the_models_own(
    add: Add, source: Path, tmp_path: Path, pooling: str, row: Any, unit: bool
) -> None:
    network = tiny.save(source, "Bert")
    tiny.save_tokenizer(source)
    tiny.sentence_files(source, pooling, unit=unit)
    card = add()
    assert isinstance(card.preprocess, TextPreprocess)
    assert card.preprocess.max_tokens == 20
    got = served(tmp_path, card).embed([words.encode() for words in TEXTS], ["sentence"])["sentence"]
    expected = np.stack([np.atleast_2d(states(network, words, 20)[row]).mean(0) for words in TEXTS])
    if unit:
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(got, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "lasttoken"}, "lasttoken"),
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False}, "mean"),
    ],
)
def test_both_ways_of_naming_the_pooling(tmp_path: Path, config: dict[str, Any], pooling: str) -> None:
    tiny.write_json(tmp_path / "1_Pooling/config.json", config)
    assert text.read_head(tmp_path) == text.Head(pooling)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode": "max"},
        {"pooling_mode_max_tokens": True},
        {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True},
    ],
)
def test_other_pooling_is_refused(tmp_path: Path, config: dict[str, Any]) -> None:
    tiny.write_json(tmp_path / "1_Pooling/config.json", config)
    with pytest.raises(InvalidInput) as caught:
        text.read_head(tmp_path)
    assert caught.value.code == "pooling"


def test_a_module_after_the_pooling_is_refused(tmp_path: Path) -> None:
    tiny.write_json(tmp_path / "modules.json", [{"type": "sentence_transformers.models.Dense", "path": "2"}])
    with pytest.raises(InvalidInput, match="Dense"):
        text.read_head(tmp_path)


def test_a_prompt_of_the_models_own_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config_sentence_transformers.json"
    tiny.write_json(path, {"prompts": {"query": "query: ", "none": ""}, "default_prompt_name": "query"})
    with pytest.raises(InvalidInput) as caught:
        text.read_head(tmp_path)
    assert caught.value.code == "prompt"
    tiny.write_json(path, {"prompts": {"query": "query: ", "none": ""}, "default_prompt_name": None})
    assert text.read_head(tmp_path) == text.Head()


def test_lower_casing_is_part_of_the_tokenizer(tmp_path: Path) -> None:
    tiny.save_tokenizer(tmp_path)
    tokenizer = json.loads((tmp_path / "tokenizer.json").read_text())
    tiny.write_json(tmp_path / "tokenizer.json", tokenizer | {"normalizer": None})
    numbers = SimpleNamespace(vocab_size=40, pad_token_id=0)
    for lower, expected in ((False, 1), (True, tiny.VOCABULARY.index("cat"))):
        tiny.write_json(tmp_path / "sentence_bert_config.json", {"do_lower_case": lower})
        prepare = TextPreprocessor(text.read_tokenizer(tmp_path, numbers), 9).prepare
        assert prepare(b"CAT").tolist() == [2, expected, 3]


def test_older_tokenizer_files_are_converted(add: Add, source: Path, tmp_path: Path) -> None:
    tiny.save(source, "Bert")
    (source / "vocab.txt").write_text("\n".join(tiny.VOCABULARY))
    tiny.write_json(
        source / "tokenizer_config.json", {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    )
    backbone = served(tmp_path, add())
    ids = backbone.preprocessor.prepare(b"The CAT reads xyzzy")
    assert ids.tolist() == [2, *map(tiny.VOCABULARY.index, ("the", "cat", "reads")), 1, 3]


@pytest.mark.parametrize("family", ["ViT", "DeiT", "Dinov2", "ConvNext", "ConvNextV2", "ResNet"])
def test_vision_encoders_give_what_the_original_gives(
    add: Add, source: Path, tmp_path: Path, family: str
) -> None:
    network = tiny.save(source, family)
    processor = tiny.SQUASH if family in ("ViT", "DeiT") else tiny.CROP | tiny.IMAGENET
    tiny.write_json(source / image.PROCESSOR, processor)
    card = add()
    pixels = np.random.default_rng(1).integers(0, 256, (3, 16, 16, 3), np.uint8)
    backbone = served(tmp_path, card)
    names = [tap.name for tap in card.taps]
    got = backbone.run(list(pixels), names)
    values = (pixels / 255 - processor["image_mean"]) / processor["image_std"]
    with torch.no_grad():
        pictures = torch.tensor(values.transpose(0, 3, 1, 2), dtype=torch.float32)
        answer = network(pictures, output_hidden_states=True)
    patches = family in ("ViT", "DeiT", "Dinov2")
    expected = answer.last_hidden_state[:, 0] if patches else answer.pooler_output.flatten(1)
    np.testing.assert_allclose(got["embedding"], expected.numpy(), atol=1e-4)
    middle = answer.hidden_states[1].flatten(2).mT if not patches else answer.hidden_states[1]
    stats = torch.cat([middle.mean(1), middle.std(1, correction=0)], 1)
    np.testing.assert_allclose(got["layer_1_stat" if patches else "stage_1_stat"], stats, atol=1e-4)
    assert {name: values.shape[1] for name, values in got.items()} == {tap.name: tap.dim for tap in card.taps}
    for name in names:
        alone = [backbone.run([one], [name])[name][0] for one in pixels]
        np.testing.assert_allclose(got[name], alone, atol=1e-5)
    picture = encode_png(np.zeros((30, 40, 3), np.uint8))
    assert backbone.embed([picture], ["embedding"])["embedding"].shape == (1, card.embedding_dim)


@pytest.mark.parametrize(
    ("family", "processor", "expected"),
    [
        ("vit", {"size": 224}, (224, "squash", 1.0, "bilinear")),
        ("vit", {"size": {"height": 384, "width": 384}, "resample": 3}, (384, "squash", 1.0, "bicubic")),
        (
            "dinov2",
            {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}},
            (224, "crop", 224 / 256, "bicubic"),
        ),
        ("resnet", {"size": {"shortest_edge": 224}, "crop_pct": 0.95}, (224, "crop", 0.95, "bilinear")),
        ("convnext", {"size": {"shortest_edge": 384}, "crop_pct": 1.0}, (384, "squash", 1.0, "bilinear")),
        ("deit", {"size": 256, "crop_size": 224, "do_center_crop": True}, (224, "crop", 0.875, "bicubic")),
    ],
)
def test_how_pictures_meet_the_frame(
    family: str, processor: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    how = image.read_processor(processor, family)
    assert isinstance(how, ImagePreprocess)
    assert how.width == how.height
    assert (how.width, how.fit, how.crop_ratio, how.resample) == expected
    assert how.reducing_gap == 2.0


@pytest.mark.parametrize(
    "processor",
    [
        {},
        {"size": {"longest_edge": 9}},
        {"size": {"shortest_edge": 9}},
        {"size": 8, "resample": 1},
        {"size": 10**6},
    ],
)
def test_other_ways_of_resizing_are_refused(processor: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput) as caught:
        image.read_processor(processor, "vit")
    assert caught.value.code == "processor"


def test_gain_and_offset_are_the_processors() -> None:
    gain, offset = image.affine({"image_mean": [0.5, 0, 1], "image_std": [0.25, 1, 2]})
    np.testing.assert_allclose(gain, [4 / 255, 1 / 255, 0.5 / 255])
    np.testing.assert_allclose(offset, [2, 0, 0.5])
    assert image.affine({"do_rescale": False, "do_normalize": False}) == ([1.0] * 3, [0.0] * 3)


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("family", ["Wav2Vec2", "Hubert"])
def test_speech_encoders_give_what_the_original_gives(
    add: Add, source: Path, tmp_path: Path, family: str, normalise: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio, "SECONDS", 0.25)
    network = tiny.save(source, family)
    tiny.write_json(source / audio.PROCESSOR, {"sampling_rate": 16_000, "do_normalize": normalise})
    card = add()
    waves = np.random.default_rng(1).normal(0, 0.1, (3, 4_000)).astype(np.float32) * [[1], [0.1], [3]]
    waves = waves.astype(np.float32)
    values = waves
    if normalise:
        values = (waves - waves.mean(1, keepdims=True)) / np.sqrt(waves.var(1, keepdims=True) + 1e-7)
    with torch.no_grad():
        top = network(torch.tensor(values)).last_hidden_state.numpy()
    expected = top.mean(1)
    backbone = served(tmp_path, card)
    stats = np.concatenate([expected, top.std(1)], axis=1)
    np.testing.assert_allclose(backbone.run(list(waves), ["layer_2_stat"])["layer_2_stat"], stats, atol=1e-4)
    np.testing.assert_allclose(backbone.run(list(waves), ["embedding"])["embedding"], expected, atol=1e-4)
    lower = backbone.run(list(waves), ["layer_1"])["layer_1"]
    alone = [backbone.run([wave], ["layer_1"])["layer_1"][0] for wave in waves]
    np.testing.assert_allclose(lower, alone, atol=1e-5)
    clip = io.BytesIO()
    soundfile.write(clip, waves[0], 8_000, format="WAV")
    assert backbone.embed([clip.getvalue()], ["embedding"])["embedding"].shape == (1, 8)


@pytest.mark.parametrize("seconds", [0.25, 3.0])  # fewer frames than the network takes, and all
def test_spectrogram_transformers_begin_at_the_waveform(
    add: Add, source: Path, tmp_path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spectrogram, "SECONDS", seconds)
    network = tiny.save(source, "AST")
    extractor = ASTFeatureExtractor(num_mel_bins=32, max_length=40)
    extractor.save_pretrained(source)
    card = add()
    assert isinstance(card.preprocess, AudioPreprocess)
    samples = round(16_000 * card.preprocess.seconds)
    assert samples == min(4_000 if seconds < 1 else 48_000, 39 * 160 + 400)
    waves = [np.random.default_rng(i).normal(0, 0.1**i, samples).astype(np.float32) for i in range(3)]
    waves[2][: samples // 2] = 0
    features = extractor(waves, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        expected = network(**features).pooler_output.numpy()
    got = served(tmp_path, card).run(waves, ["embedding"])["embedding"]
    np.testing.assert_allclose(got, expected, atol=1e-4)


def test_speech_needs_its_rate(add: Add, source: Path, tmp_path: Path) -> None:
    tiny.save(source, "Wav2Vec2")
    assert refusal(add, tmp_path / "root").code == "processor"


def test_taps_of_deep_networks_are_spread() -> None:
    assert levels(4) == [0, 1, 2, 3, 4]
    assert levels(12) == [0, 2, 4, 6, 8, 10, 12]
    assert levels(24) == [0, 4, 8, 12, 16, 20, 24]


@pytest.fixture
def bert(source: Path) -> Path:
    tiny.save(source, "Bert")
    tiny.save_tokenizer(source)
    return source


def refusal(add: Add, root: Path) -> DurianError:
    """What adding raises; nothing may have been added."""
    with pytest.raises(DurianError) as caught:
        add()
    assert not list(root.rglob("*.json"))
    return caught.value


def test_adding_twice_is_one_backbone_and_another_is_a_conflict(add: Add, bert: Path, tmp_path: Path) -> None:
    first = add()
    assert add() == first
    assert [path.name for path in (tmp_path / "root/hub/some").iterdir()] == ["model"]
    tiny.sentence_files(bert, "cls_token", unit=False)
    with pytest.raises(Conflict):
        add()
    assert add("some/other").digest != first.digest


def test_the_heads_of_published_weights_are_left_out(add: Add, source: Path) -> None:
    tiny.save(source, "Bert", "ForMaskedLM")  # with cls.*, without the pooler
    tiny.save_tokenizer(source)
    assert add().parameters > 0


def change_weights(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (lambda w: w.pop("encoder.layer.0.output.dense.weight"), "missing_keys", "encoder.layer.0.output"),
        (lambda w: w.update({"encoder.layer.9.bias": torch.zeros(2)}), "extra_keys", "encoder.layer.9.bias"),
        (lambda w: w.update({"embeddings.LayerNorm.bias": torch.zeros(3)}), "weights", "shapes"),
        (lambda w: w["embeddings.LayerNorm.bias"].fill_(float("nan")), "non_finite", "NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    add: Add, bert: Path, tmp_path: Path, change: Any, code: str, words: str
) -> None:
    change_weights(bert, change)
    error = refusal(add, tmp_path / "root")
    assert error.code == code
    assert words in error.message


def test_pickled_weights_are_refused(add: Add, bert: Path, tmp_path: Path) -> None:
    (bert / "model.safetensors").rename(bert / "pytorch_model.bin")
    assert refusal(add, tmp_path / "root").code == "pickle"


def test_a_pickle_under_another_name_is_refused(add: Add, bert: Path, tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, bert / "model.safetensors")
    assert refusal(add, tmp_path / "root").code == "weights"


def test_a_pickle_beside_the_weights_is_not_read(bert: Path) -> None:
    (bert / "pytorch_model.bin").write_bytes(b"never read")
    assert check_folder(bert)["model_type"] == "bert"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json"])
def test_code_of_the_models_own_is_refused(add: Add, bert: Path, tmp_path: Path, file: str) -> None:
    config = check_folder(bert) if file == "config.json" else {}
    tiny.write_json(bert / file, config | {"auto_map": {"AutoModel": "modeling.Mine"}})
    assert refusal(add, tmp_path / "root").code == "remote_code"


@pytest.mark.parametrize(
    ("files", "code"),
    [
        ({}, "config"),
        ({"config.json": "{"}, "config"),
        ({"config.json": "[]"}, "config"),
        ({"config.json": "{}"}, "weights"),
        ({"config.json": "{}", "model.safetensors": ""}, "architecture"),
        ({"config.json": '{"model_type": "llama"}', "model.safetensors": ""}, "architecture"),
        ({"config.json": '{"model_type": "bert"}', "model.safetensors": "junk"}, "weights"),
    ],
)
def test_a_folder_that_is_no_model(
    add: Add, source: Path, tmp_path: Path, files: dict[str, str], code: str
) -> None:
    source.mkdir()
    for name, content in files.items():
        (source / name).write_text(content)
    assert refusal(add, tmp_path / "root").code == code


def test_pictures_of_another_size_than_the_network_takes(add: Add, source: Path, tmp_path: Path) -> None:
    tiny.save(source, "ViT")
    tiny.write_json(source / image.PROCESSOR, tiny.SQUASH | {"size": {"height": 24, "width": 24}})
    assert refusal(add, tmp_path / "root").code == "run"


@pytest.mark.parametrize("modules", [[{"path": "1_Pooling"}], ["Pooling"], {"type": "Pooling"}])
def test_a_malformed_list_of_modules(tmp_path: Path, modules: object) -> None:
    tiny.write_json(tmp_path / "modules.json", modules)
    with pytest.raises(InvalidInput, match=r"modules\.json"):
        text.read_head(tmp_path)


@pytest.mark.parametrize("content", [None, "{", "large"])
def test_a_text_model_needs_its_own_tokenizer(
    add: Add, bert: Path, tmp_path: Path, content: str | None
) -> None:
    path = bert / "tokenizer.json"
    if content is None:
        path.unlink()
    elif content == "large":
        path.write_text(path.read_text().replace('"blue": 22', '"blue": 40'))
    else:
        path.write_text(content)
    assert refusal(add, tmp_path / "root").code == "tokenizer"


def test_an_export_that_differs_never_appears(
    add: Add, bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "to_onnx", lambda model, *rest: export(shift(model), *rest))
    from training.backbones.hub.torch_side import to_onnx as export

    error = refusal(add, tmp_path / "root")
    assert isinstance(error, CorruptArtefact)
    assert error.code == "parity"
    assert list((tmp_path / "root/hub/some").iterdir()) == []


def shift(model: Any) -> Any:
    """A slightly different network."""
    with torch.no_grad():
        model.embeddings.LayerNorm.bias.add_(0.05)
    return model


@pytest.mark.parametrize("name", ["model", "a/b/c", "../x", "a/..", "a/.b", "a b/c", "", "x" * 97 + "/y"])
def test_a_bad_id_is_refused(add: Add, name: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        add(name)
    assert caught.value.code == "backbone_id"


def test_without_network_the_error_names_the_other_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(Unavailable, match="--weights FOLDER") as caught:
        hub.add("some/model", weights=None, root=tmp_path, emit=lambda line: None)
    assert caught.value.code == "no_network"
    assert list(tmp_path.iterdir()) == []


def test_a_download_is_recorded_with_its_revision(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = bert.rename(tmp_path / "0123456789abcdef")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, allow_patterns: str(snapshot))
    lines: list[str] = []
    card = hub.add("some/model", weights=None, root=tmp_path / "root", emit=lines.append)
    assert card.source == "some/model, revision 0123456789ab of the Hugging Face hub"
    assert lines[:2] == ["hub/some/model: downloading", "hub/some/model: exporting"]


def test_a_model_that_the_hub_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str, allow_patterns: list[str]) -> str:
        assert not any(pattern.endswith((".bin", ".py")) for pattern in allow_patterns)
        answer = httpx.Response(404, request=httpx.Request("GET", "https://hub.test"))
        raise RepositoryNotFoundError("no", response=answer)

    monkeypatch.setattr("huggingface_hub.snapshot_download", absent)
    with pytest.raises(NotFound, match="no such model"):
        hub.add("some/model", weights=None, root=tmp_path, emit=lambda line: None)


def test_without_the_hubs_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(Unavailable, match="--weights FOLDER") as caught:
        hub.add("some/model", weights=None, root=tmp_path, emit=lambda line: None)
    assert caught.value.code == "no_hub_client"


def test_the_command_prints_one_card_or_one_error(
    bert: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    arguments = ["--weights", str(bert), "--root", str(tmp_path / "root")]
    assert main(["add", "hub/some/model", *arguments]) == 0
    (line,) = capfdbinary.readouterr().out.splitlines()
    assert b'"id":"hub/some/model"' in line
    shutil.rmtree(bert)
    assert main(["add", "hub/some/other", *arguments]) == 1
    assert b'"code":"config"' in capfdbinary.readouterr().out
    assert main(["add", "elsewhere/model", *arguments]) == 1
    assert b'"code":"backbone_id"' in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\ntags: [x]\nlicense: apache-2.0\n---\n# Model", "apache-2.0"),
        ("# Model\nlicense: mit", "unknown"),
        (None, "unknown"),
    ],
)
def test_the_licence_is_that_of_the_model_card(tmp_path: Path, readme: str | None, licence: str) -> None:
    if readme is not None:
        (tmp_path / "README.md").write_text(readme)
    assert licence_of(tmp_path) == licence


def test_a_graph_says_nothing_of_the_machine(add: Add, bert: Path, tmp_path: Path) -> None:
    graph = (tmp_path / "root" / add().id / "model.onnx").read_bytes()
    assert b"/site-packages" not in graph
    assert str(tmp_path).encode() not in graph
