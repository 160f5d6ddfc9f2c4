"""The recipe of `image/durian-small`: its generators, its training, its export, and what was shipped."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models.backbone import GRAPH, read_card
from models.errors import CorruptArtefact
from models.modalities.image import encode_png
from models.runtime import Backbone, Features
from training.pretrain.__main__ import main
from training.pretrain.image import evaluate, glyphs

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")  # the two photographs

from training.pretrain.image import export, gradients, model, network, patches, scenes, train, views  # noqa: E402
from training.pretrain.image.finish import finish  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "models/backbones/image/durian-small"
TINY = train.Recipe(seed=3, steps=2, glyph_pairs=4, scene_pairs=4, pool=6, fresh=1, warmup=1)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> network.Encoder:
    """Two steps old."""
    return train.train(TINY, tmp_path_factory.mktemp("cache") / "image.pt", every=1)


@pytest.fixture(scope="module")
def tiny(encoder: network.Encoder) -> model.Durian:
    return finish(encoder, seed=3, examples=12)


@pytest.fixture(scope="module")
def pixels() -> torch.Tensor:
    """Three pictures in [0, 1]: colour noise, the same in grey, a gradient."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(3, 64, 64, generator=generator)
    grey = noise.mean(0, keepdim=True).expand(3, 64, 64)
    ramp = torch.linspace(0, 1, 64).expand(3, 64, 64)
    return torch.stack([noise, grey, ramp])


def test_glyphs_are_the_same_for_a_seed_and_differ_by_class() -> None:
    first, again = (glyphs.random_glyphs(20, np.random.default_rng(1)) for _ in range(2))
    drawn = [glyphs.draw(glyph, np.random.default_rng(2)) for glyph in first]
    redrawn = [glyphs.draw(glyph, np.random.default_rng(2)) for glyph in again]
    assert np.array_equal(drawn, redrawn)
    assert len({page.tobytes() for page in drawn}) == len(drawn) == 20
    assert sum(bool(glyph.letter) for glyph in first) == round(glyphs.FONT_SHARE * 20)
    for page in drawn:
        assert page.shape == (64, 64)
        assert page.dtype == np.uint8
        assert 0 < (page > 0).mean() < 0.7


def test_two_drawings_of_a_class_are_nearer_than_two_classes() -> None:
    rng = np.random.default_rng(5)
    hand = glyphs.Hand(np.eye(2) * 0.7, np.zeros(2), 0.01, 6)
    pages = [
        [glyphs.draw(g, rng, hand).astype(float) for _ in range(2)] for g in glyphs.random_glyphs(30, rng)
    ]
    within = np.mean([np.abs(a - b).mean() for a, b in pages])
    between = np.mean([np.abs(pages[i][0] - pages[i - 1][1]).mean() for i in range(30)])
    assert within < 0.7 * between


def test_a_variant_is_another_class() -> None:
    rng = np.random.default_rng(4)
    glyph = glyphs.random_glyph(rng)
    assert not np.array_equal(
        glyphs.draw(glyph, np.random.default_rng(0)),
        glyphs.draw(glyphs.variant(glyph, rng), np.random.default_rng(0)),
    )


@pytest.mark.parametrize("maker", scenes.MAKERS)
def test_scenes_are_the_same_for_a_seed_and_not_flat(maker: scenes.Maker) -> None:
    pair = maker(np.random.default_rng(7))
    assert np.array_equal(pair, maker(np.random.default_rng(7)))
    assert not np.array_equal(pair, maker(np.random.default_rng(8)))
    assert pair.shape == (2, 96, 96, 3)
    assert pair.dtype == np.uint8
    assert pair.std() > 1


def test_views_have_the_shape_and_range_of_pictures() -> None:
    dice = views.Dice(torch.Generator().manual_seed(0), torch.device("cpu"))
    data = train.Data(TINY)
    for made in (
        views.glyph_views(views.to_tensor(data.glyphs()), dice),
        views.scene_views(views.to_tensor(data.scenes()), dice),
    ):
        assert made.shape == (8, 3, 64, 64)
        assert 0 <= float(made.min()) < float(made.max()) <= 1


def test_contrast_is_the_cross_entropy_of_finding_the_partner() -> None:
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    expected = -np.log(np.exp(2) / (np.exp(2) + 2))  # partner at cosine 1, two others at 0, temperature 0.5
    assert float(network.contrast(first, second, 0.5)) == pytest.approx(expected)


def test_a_folded_unit_computes_the_same() -> None:
    torch.manual_seed(0)
    unit = network.Unit(3, 5, stride=2)
    x = torch.randn(4, 3, 8, 8)
    unit(x)  # moves the running statistics
    weight, bias = unit.eval().folded()
    folded = torch.nn.functional.conv2d(x, weight, bias, stride=2, padding=1)
    torch.testing.assert_close(folded, unit(x), atol=1e-5, rtol=1e-5)


def test_training_is_repeatable_and_leaves_a_checkpoint(encoder: network.Encoder, tmp_path: Path) -> None:
    again = train.train(TINY, tmp_path / "image.pt")
    loaded = train.load(tmp_path / "image.pt")
    for name, weights in encoder.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], weights)
        assert torch.equal(loaded.state_dict()[name], again.state_dict()[name])


def test_training_changes_the_weights(encoder: network.Encoder) -> None:
    untrained = train.Trainer(TINY, torch.device("cpu")).encoder
    assert not torch.equal(untrained.code.weight, encoder.code.weight)


def test_a_run_by_the_clock_ends() -> None:
    trainer = train.Trainer(replace(TINY, minutes=1e-6), torch.device("cpu"))
    trainer.step()
    assert trainer.progress == 1


def test_vertical_stripes_have_horizontal_gradients() -> None:
    wave = (torch.sin(torch.arange(64) * 0.4) / 2 + 0.5).expand(1, 3, 64, 64)
    across = gradients.gradients(wave).reshape(8, 7, 7)
    down = gradients.gradients(wave.transpose(2, 3)).reshape(8, 7, 7)
    assert int(across.sum((1, 2)).argmax()) == 0
    assert int(down.sum((1, 2)).argmax()) == gradients.DIRECTIONS // 2
    assert gradients.gradients(wave).norm() == pytest.approx(1, abs=1e-2)


def test_texture_does_not_see_brightness(tiny: model.Durian, pixels: torch.Tensor) -> None:
    darker = tiny.patches(0.5 * pixels), tiny.patches(0.5 * pixels + 0.2)
    torch.testing.assert_close(darker[0], darker[1], atol=1e-3, rtol=0)
    assert tiny.patches(pixels).shape == (3, 8 * patches.ATOMS)


def test_a_mirror_image_is_near_in_colour_and_not_in_grey(tiny: model.Durian, pixels: torch.Tensor) -> None:
    blind = copy.deepcopy(tiny)
    torch.nn.init.constant_(blind.gate.weight, 0)
    torch.nn.init.constant_(blind.gate.bias, -20)  # takes everything for a scene
    texture = slice(network.CODE, network.CODE + 8 * patches.ATOMS)
    with torch.no_grad():
        seen, mirrored = (blind(x)["embedding"][:, texture] for x in (pixels, pixels.flip(3)))
    apart = (seen - mirrored).norm(dim=1)
    assert apart[0] < 1e-5
    assert apart[1] > 0.05


def test_the_gate_learns_what_it_is_shown(tiny: model.Durian) -> None:
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(20, 3, 64, 64, generator=generator)
    assert model.fit_gate(copy.deepcopy(tiny), 0.1 * noise, noise) == 1


def test_the_export_computes_the_same_and_is_stable(tiny: model.Durian) -> None:
    exported = export.export(tiny)
    assert exported.card.id == "image/durian-small"
    assert exported.card.tap().name == "embedding"
    assert export.export(tiny).card.digest == exported.card.digest


def test_an_export_that_strays_is_refused(tiny: model.Durian, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = export.reference
    strayed = lambda *given: {name: values + 0.01 for name, values in honest(*given).items()}  # noqa: E731
    monkeypatch.setattr(export, "reference", strayed)
    with pytest.raises(CorruptArtefact):
        export.export(tiny)


def test_the_command_writes_a_backbone_that_loads(
    encoder: network.Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save(encoder.state_dict(), tmp_path / "image.pt")
    monkeypatch.setattr("training.pretrain.image.finish.EXAMPLES", 12)
    main(["image", "--out", str(tmp_path / "made"), "--encoder", str(tmp_path / "image.pt"), "--seed", "3"])
    backbone = Backbone(tmp_path / "made")
    page = np.zeros((9, 9), np.uint8)
    assert _features(backbone, [page], "embedding").shape == (1, backbone.card.embedding_dim)


def test_evaluate_asks_the_right_rows() -> None:
    labels = np.repeat(np.arange(4), 6)
    perfect = np.eye(4, dtype=np.float32)[labels]
    draws = list(evaluate.few_shot(labels, classes=3, shots=2))
    assert len(draws) == evaluate.DRAWS
    for support, query in draws:
        assert (len(support), len(query)) == (6, 12)
        assert not set(support) & set(query)
    assert evaluate.mean_accuracy(perfect, labels, draws) == 100
    assert evaluate.mean_accuracy(np.zeros_like(perfect), labels, draws) == pytest.approx(100 / 3)


@pytest.fixture(scope="module")
def shipped() -> Backbone:
    return Backbone(SHIPPED)


def _features(backbone: Backbone, pages: list[np.ndarray], tap: str) -> Features:
    return backbone.embed([encode_png(page) for page in pages], [tap])[tap]


def test_what_is_shipped_is_complete_and_small() -> None:
    card = read_card(SHIPPED)
    assert card.id == export.ID
    assert (SHIPPED / GRAPH).stat().st_size < 6_000_000
    assert [tap.depth for tap in card.taps] == sorted(tap.depth for tap in card.taps)
    assert (SHIPPED / "README.md").is_file()


def test_what_is_shipped_answers_finitely_and_alone_as_in_a_batch(shipped: Backbone) -> None:
    rng = np.random.default_rng(0)
    pages = [rng.integers(0, 256, (20 + 30 * i, 90 - 10 * i, 3), dtype=np.uint8) for i in range(4)]
    pages.append(np.zeros((5, 5), np.uint8))
    for tap in shipped.card.taps:
        together = _features(shipped, pages, tap.name)
        alone = np.concatenate([_features(shipped, [page], tap.name) for page in pages])
        assert together.shape == (5, tap.dim)
        assert np.isfinite(together).all()
        np.testing.assert_allclose(together, alone, atol=1e-5)


def test_what_is_shipped_knows_a_character_after_one_drawing(shipped: Backbone) -> None:
    """Classes and drawings of a seed that training did not use."""
    rng = np.random.default_rng(12_345)
    classes = glyphs.random_glyphs(20, rng)
    pages = [255 - glyphs.draw(glyph, rng) for glyph in classes for _ in range(4)]
    labels = np.repeat(np.arange(20), 4)
    features = _features(shipped, pages, "embedding")
    draws = list(evaluate.few_shot(labels, classes=20, shots=1))
    assert evaluate.mean_accuracy(features, labels, draws) > 80
