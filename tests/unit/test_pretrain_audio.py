"""The recipe of `audio/durian-small`: its generators, its training, its export, and what was shipped."""

from __future__ import annotations

import ctypes.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from models.errors import CorruptArtefact, InvalidInput
from models.runtime import Backbone
from training.pretrain.audio import clips, espeak, sounds, words
from training.pretrain.audio.evaluate import evaluate

torch = pytest.importorskip("torch")

from training.pretrain.audio import disturb, export, network, train  # noqa: E402 (they need torch)

SHIPPED = Path(__file__).parents[2] / "models/backbones/audio/durian-small"
SOUNDS = clips.Corpus(words=0, clips=2, sounds=8)
needs_espeak = pytest.mark.skipif(
    not ctypes.util.find_library("espeak-ng"), reason="espeak-ng is not installed"
)


@pytest.fixture(scope="module")
def corpus() -> clips.Clips:
    return clips.build(SOUNDS, seed=5)


@pytest.mark.parametrize("kind", range(len(sounds.FAMILIES)))
def test_a_sound_is_the_same_each_time_and_fills_its_range(kind: int) -> None:
    wave = sounds.sound(kind, 1, seed=3)
    assert np.array_equal(wave, sounds.sound(kind, 1, seed=3))
    assert not np.array_equal(wave[:2000], sounds.sound(kind, 2, seed=3)[:2000])
    assert wave.dtype == np.float32
    assert np.abs(wave).max() == pytest.approx(0.9)
    assert clips.SHORTEST < len(wave) <= 1.2 * espeak.RATE + 1


def test_trim_cuts_silence_from_both_ends() -> None:
    tone = np.sin(np.arange(3200, dtype=np.float32) / 4) / 3
    silence = np.zeros(1600, np.float32)
    trimmed = espeak.trim(np.concatenate([silence, tone, silence]))
    assert len(trimmed) == len(tone)
    assert np.abs(trimmed).max() == pytest.approx(0.9)
    assert not len(espeak.trim(silence))


def test_the_vocabulary_is_fixed_by_its_seed_and_holds_no_digits() -> None:
    vocabulary = words.vocabulary(pseudo=300, foreign=4, seed=1)
    assert vocabulary == words.vocabulary(pseudo=300, foreign=4, seed=1)
    assert vocabulary != words.vocabulary(pseudo=300, foreign=4, seed=2)
    assert len({(word.text, word.voices) for word in vocabulary}) == len(vocabulary)
    assert not words.DIGITS & {word.text for word in vocabulary}


def test_words_that_any_voice_says_like_a_digit_are_left_out() -> None:
    three, tree = words.Word("[['3:]]", ("en-us",)), words.Word("tree", ("en", "en-029"))
    table = {word: word for word in words.DIGITS} | {"[['3:]]": "three", "apple": "apple"}
    said = {("tree", "en-029"): "three", ("tree", "en"): "tree"}
    apple = words.Word("apple", ("en-us",))
    kept = clips.unlike_digits(
        [three, tree, apple], lambda text, voice: said.get((text, voice)) or table[text]
    )
    assert kept == [apple]


def test_units_mark_what_words_share() -> None:
    marks = clips.units(["ab"] * clips.COMMON + ["b", ""])
    assert marks.shape == (clips.COMMON + 2, 4)  # ^a, a, b and b$ are common, ^b is not
    assert marks[0].all()
    assert marks[-2].sum() == 2
    assert not marks[-1].any()


def test_clips_lie_end_to_end_and_come_back_from_the_cache(tmp_path: Path) -> None:
    made = clips.load(SOUNDS, 5, tmp_path)
    assert (len(made), made.classes, made.samples.dtype) == (16, 8, np.int16)
    assert np.array_equal(made.starts[1:], (made.starts + made.lengths)[:-1])
    assert made.lengths.sum() == len(made.samples)
    again = clips.load(SOUNDS, 5, tmp_path)
    assert all(
        np.array_equal(old, new) for old, new in zip(vars(made).values(), vars(again).values(), strict=True)
    )


@needs_espeak
def test_speech_is_the_same_in_each_process() -> None:
    code = """if True:
        from training.pretrain.audio.clips import Corpus, build
        made = build(Corpus(words=3, clips=2, voices=4, sounds=0), seed=1)
        total = sum(made.samples.astype(int) * range(len(made.samples)))
        print(made.classes, min(made.lengths) > 1600, total)
    """
    told = [subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)]
    assert told[0] == told[1]
    assert told[0].startswith("3 True ")


def test_without_espeak_the_recipe_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(InvalidInput, match="apt-get install espeak-ng"):
        espeak.library()


def test_disturbed_windows_are_finite_within_range_and_fixed_by_the_seed(corpus: clips.Clips) -> None:
    ids = torch.arange(len(corpus))
    windows = disturb.Disturb(corpus, 0, torch.device("cpu"))(ids)
    assert windows.shape == (len(corpus), disturb.WINDOW)
    assert torch.equal(windows, disturb.Disturb(corpus, 0, torch.device("cpu"))(ids))
    assert (windows.abs().amax(1) > 0.01).all()
    assert (windows.abs() <= 1).all()


def test_loudness_and_silence_after_the_clip_do_not_matter() -> None:
    wave = torch.zeros(1, network.WINDOW)
    wave[0, :6000] = torch.from_numpy(sounds.sound(1, 0, seed=0)[:4000]).repeat(2)[:6000] / 2
    model = network.Network().eval()
    with torch.no_grad():
        loud, soft, short = (model(w)["embedding"] for w in (wave, wave / 4, wave[:, :12_800]))
    assert torch.allclose(loud, soft, atol=1e-3)
    assert torch.nn.functional.cosine_similarity(loud, short) > 0.99


def test_two_steps_train_and_export_with_parity(corpus: clips.Clips, tmp_path: Path) -> None:
    plan = train.Plan(steps=2, batch=8, checkpoint_every=1, measured=2)
    lines: list[str] = []
    model = train.train(corpus, plan, 0, checkpoint=tmp_path / "net.pt", say=lines.append)
    again = train.train(corpus, plan, 0, say=lines.append)
    assert len(lines) == 4
    weights = torch.load(tmp_path / "net.pt", weights_only=True)
    assert weights.keys() == model.state_dict().keys()
    assert torch.equal(model.stem.conv.weight, again.stem.conv.weight)
    assert not torch.equal(model.stem.conv.weight, network.Network().stem.conv.weight)
    assert (model.deviation > 0).all()
    card = export.export(model, tmp_path / "out", "a test")
    assert card.taps[-1].name == "embedding"
    assert export.check(model, (tmp_path / "out" / "model.onnx").read_bytes()) <= export.TOLERANCE


def test_an_export_that_strays_is_refused(corpus: clips.Clips) -> None:
    model, other = network.Network(), network.Network()
    dims = {name: rows.shape[1] for name, rows in export.reference(model, export.probes()[:1]).items()}
    with pytest.raises(CorruptArtefact):
        export.check(other, export.to_onnx(model, dims))


def test_the_loss_is_a_softmax_of_cosines_with_a_margin_and_a_spelling() -> None:
    plan = train.Plan(scale=2.0, margin=0.5, spelling=0.25)
    loss = train.Loss(np.array([[True, False, True], [False, False, False]]), plan)
    loss.project = torch.nn.Identity()
    with torch.no_grad():
        loss.classes.copy_(torch.eye(2, train.PROJECTED))
        loss.spell.weight.zero_()
        loss.spell.bias.zero_()
    row = 3 * torch.eye(2, train.PROJECTED)[:1]  # points at class 0, whatever its length
    value = loss({"stage4": row[:, :100], "stage4_peak": row[:, 100:]}, torch.tensor([0]))
    cosines = 2 * np.array([1 - 0.5, 0])
    expected = np.log(np.exp(cosines).sum()) - cosines[0] + 0.25 * 3 * np.log(2)
    assert float(value.detach()) == pytest.approx(expected, rel=1e-5)


def test_digits_that_are_told_apart_score_one_and_noise_scores_chance(tmp_path: Path) -> None:
    for digit in range(10):
        for speaker in ("a", "b"):
            for number in range(8):
                (tmp_path / f"{digit}_{speaker}_{number}.wav").write_bytes(bytes([digit]))
    perfect = evaluate(lambda contents: np.eye(10, dtype=np.float32)[[c[0] for c in contents]], tmp_path)
    assert min(value for name, value in perfect.items() if not name.endswith("spread")) == 1
    rng = np.random.default_rng(0)
    chance = evaluate(lambda contents: rng.standard_normal((len(contents), 4), np.float32), tmp_path)
    assert chance["shots"] < 0.4


@pytest.fixture(scope="module")
def shipped() -> Backbone:
    return Backbone(SHIPPED)


def test_the_shipped_backbone_is_small_and_answers_on_every_tap(shipped: Backbone) -> None:
    assert (SHIPPED / "model.onnx").stat().st_size < 6_000_000
    names = [tap.name for tap in shipped.card.taps]
    rows = shipped.run(list(export.probes()), names)
    assert {name: values.shape[1] for name, values in rows.items()} == {
        t.name: t.dim for t in shipped.card.taps
    }
    assert all(np.isfinite(values).all() for values in rows.values())


def test_the_shipped_backbone_does_not_look_at_the_rest_of_the_batch(shipped: Backbone) -> None:
    waves = list(export.probes())
    together = shipped.run(waves, ["embedding"])["embedding"]
    alone = np.concatenate([shipped.run([wave], ["embedding"])["embedding"] for wave in waves])
    np.testing.assert_allclose(together, alone, atol=1e-4)


def test_the_shipped_backbone_tells_sounds_apart(shipped: Backbone) -> None:
    """Four clips of eight kinds: each is nearer to another clip of its kind than to any other kind."""
    made = [(kind, sounds.sound(kind, number, seed=77)) for kind in range(8) for number in range(4)]
    waves = [np.pad(wave, (0, network.WINDOW))[: network.WINDOW] for _, wave in made]
    rows = shipped.run(waves, ["embedding"])["embedding"]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    likeness = unit @ unit.T - 2 * np.eye(len(unit))
    kinds = np.array([kind for kind, _ in made])
    assert (kinds[likeness.argmax(1)] == kinds).mean() > 0.9
