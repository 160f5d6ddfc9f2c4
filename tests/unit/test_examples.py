"""The example sets are what their README says, and are made again to the byte."""

from __future__ import annotations

import io
import runpy
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import orjson
import pytest
from PIL import Image

from training.pretrain.__main__ import main as pretrain

EXAMPLES = Path(__file__).parents[2] / "examples"
SETS = ["texts.jsonl", "multilabel.jsonl", "digits.zip", "spectra.npz", "concentrations.npz"]


def rows(name: str) -> list[dict]:
    return [orjson.loads(line) for line in (EXAMPLES / name).read_text().splitlines()]


def arrays(name: str) -> dict:
    with np.load(EXAMPLES / name, allow_pickle=False) as npz:
        return dict(npz)


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_small_and_described(name):
    assert (EXAMPLES / name).stat().st_size <= 600_000
    assert f"`{name}`" in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("name", ["texts.jsonl", "multilabel.jsonl"])
def test_sentences_are_distinct_and_of_3_to_25_words(name):
    sentences = [row["input"] for row in rows(name)]
    assert len({sentence.casefold().strip(" .?!") for sentence in sentences}) == len(sentences)
    assert all(3 <= len(sentence.split()) <= 25 for sentence in sentences)


def test_texts_have_12_intents_in_turn_with_25_sentences_each():
    labels = [row["label"] for row in rows("texts.jsonl")]
    assert len(set(labels)) == 12
    assert labels == 25 * labels[:12]


def test_multilabel_has_60_rows_with_1_to_3_of_5_topics():
    labels = [row["label"] for row in rows("multilabel.jsonl")]
    assert len(labels) == 60
    assert set(map(len, labels)) == {1, 2, 3}
    assert all(len(set(names)) == len(names) for names in labels)
    counts = Counter(name for names in labels for name in names)
    assert len(counts) == 5
    assert min(counts.values()) >= 12


def test_digits_are_1797_distinct_8x8_grey_images():
    with zipfile.ZipFile(EXAMPLES / "digits.zip") as archive:
        names = archive.namelist()
        images = [Image.open(io.BytesIO(archive.read(name))) for name in names]
    assert len(names) == 1797
    assert {name.split("/")[0] for name in names} == set("0123456789")
    assert {(image.mode, image.size, image.format) for image in images} == {("L", (8, 8), "PNG")}
    assert len({image.tobytes() for image in images}) == 1797


def test_spectra_are_6_materials_in_turn_with_100_rows_each():
    made = arrays("spectra.npz")
    assert (made["x"].shape, made["x"].dtype, made["grid"].shape) == ((600, 200), np.float32, (200,))
    assert len(set(made["y"][:6])) == 6
    assert made["y"].tolist() == 100 * made["y"][:6].tolist()
    assert len(np.unique(made["x"], axis=0)) == 600
    assert np.isfinite(made["x"]).all()


def test_concentrations_are_120_amounts_of_ethanol():
    made = arrays("concentrations.npz")
    assert (made["x"].shape, made["y"].shape, made["y"].dtype) == ((120, 200), (120,), np.float64)
    assert len(np.unique(made["x"], axis=0)) == 120
    assert 0 <= made["y"].min() < 20 < 80 < made["y"].max() < 250  # kg/m³


def test_raw_nearest_neighbour_is_imperfect_on_five_spectra_a_class():
    made = arrays("spectra.npz")
    support, rest = made["x"][:30], made["x"][30:]
    nearest = ((rest[:, None] - support) ** 2).sum(axis=2).argmin(axis=1)
    assert 0.65 < (made["y"][:30][nearest] == made["y"][30:]).mean() < 0.9


def test_digits_are_made_again_to_the_byte():
    made = runpy.run_path(str(EXAMPLES / "make_digits.py"))["digits_zip"]()
    assert made == (EXAMPLES / "digits.zip").read_bytes()


def written_here(path):
    """The arrays of a file, as this Python writes them: headers of archives differ among its patches."""
    buffer = io.BytesIO()
    with np.load(path, allow_pickle=False) as arrays:
        np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_spectra_are_made_again_to_the_byte(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pretrain", "spectra", str(tmp_path)])
    pretrain()
    for name in ("spectra.npz", "concentrations.npz"):
        assert (tmp_path / name).read_bytes() == written_here(EXAMPLES / name)
