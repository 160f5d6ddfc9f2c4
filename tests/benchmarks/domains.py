"""Pairs of domains: object photos, book and electronics reviews, printed and scanned digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow.parquet as parquet
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from models.modalities.image import encode_png
from models.runtime import Backbone
from tests.benchmarks.examples import Examples
from tests.benchmarks.fits import Fit
from tests.embedded import BUILT
from tests.training_support import Bench
from training.fit import run
from training.frame import Frame
from training.methods.base import Problem

SURF = "image/office_caltech10_surf.npz"
REVIEWS = "text/amazon_books_electronics.parquet"
PHOTOS = ("amazon", "caltech10", "dslr", "webcam")
_FROM_DSLR, _SHOTS = 8, 20  # source photos a class (Gong et al. 2012)
_BATCH = 16
_CANVAS, _TALL = 64, 8
SIDE = 20
"""Pixels of a digit on a photograph."""


@dataclass(frozen=True, eq=False)
class Domain:
    """Features [n, D] and class numbers [n]."""

    X: NDArray[np.float64]
    y: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Domain:
        return Domain(self.X[rows], self.y[rows])

    def draw(self, shots: int, seed: int) -> NDArray[np.int64]:
        """Rows of `shots` examples a class, classes in order, by rng(1000 + seed)."""
        rng = np.random.default_rng(1000 + seed)
        return np.concatenate(
            [rng.permutation(np.flatnonzero(self.y == c))[:shots] for c in np.unique(self.y)]
        )

    def without(self, rows: NDArray[np.int64]) -> Domain:
        return self.take(np.setdiff1d(np.arange(len(self.y)), rows))


def photos(file: Path) -> dict[str, Domain]:
    """SURF histograms of Office-Caltech, as published: each sums to one, then z-scores within its domain."""
    found = {}
    with np.load(file, allow_pickle=False) as npz:
        for name in PHOTOS:
            counts = npz[f"{name}_x"].astype(float)
            shares = counts / counts.sum(axis=1, keepdims=True)
            spread = shares.std(axis=0)
            y = npz[f"{name}_y"].astype(np.int64)
            scores = (shares - shares.mean(axis=0)) / np.where(spread > 0, spread, 1)
            found[name] = Domain(scores, y - y.min())
    return found


def photo_pairs(domains: dict[str, Domain], seed: int) -> list[tuple[Domain, Domain]]:
    """The 12 (source draw, target) of the published protocol."""
    pairs = []
    for ours, theirs in permutations(PHOTOS, 2):
        shots = _FROM_DSLR if ours == "dslr" else _SHOTS
        pairs.append((domains[ours].take(domains[ours].draw(shots, seed)), domains[theirs]))
    return pairs


def framed(source: Domain, target: Domain, labelled: Domain | None = None) -> Problem:
    """The problem in a frame that holds both domains; `labelled` rows are of the target too."""
    more = source.take(np.empty(0, np.int64)) if labelled is None else labelled
    X, y = np.concatenate([source.X, more.X]), np.concatenate([source.y, more.y])
    frame = Frame.of(np.concatenate([X, target.X]))
    labels = tuple(f"class {c}" for c in np.unique(y))
    marks = np.arange(len(y)) >= len(source.y)
    return Problem(frame.enter(X), y, "classification", labels, 0, frame.enter(target.X), marks)


def reviews(file: Path, most: int) -> dict[str, Domain]:
    """MiniLM embeddings of at most so many reviews a domain; 1 is positive."""
    rows = parquet.read_table(file, columns=["text", "label", "domain"]).to_pylist()
    backbone = Backbone(BUILT / "text" / "minilm-l6")
    found = {}
    for name in ("books", "electronics"):
        kept = [row for row in rows if row["domain"] == name]
        kept = [kept[i] for i in np.random.default_rng(0).permutation(len(kept))[:most]]
        y = np.array([row["label"] == "positive" for row in kept], np.int64)
        found[name] = Domain(_embed(backbone, [row["text"] for row in kept]), y)
    return found


def _embed(backbone: Backbone, texts: Sequence[str]) -> NDArray[np.float64]:
    """The default tap's features, computed in batches of texts of about one length."""
    tap, order = backbone.card.default_tap, np.argsort([len(text) for text in texts], kind="stable")
    parts = []
    for start in range(0, len(texts), _BATCH):
        batch = [texts[i].encode() for i in order[start : start + _BATCH]]
        parts.append(backbone.embed(batch, [tap])[tap])
    found = np.empty((len(texts), parts[0].shape[1]))
    found[order] = np.concatenate(parts)
    return found


def adapted(source: Domain, target: Domain, method: str) -> Fit:
    """A whole job with the target as its unlabelled file."""
    with TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        path, _, pack = bench.pack("target", "classification", [None] * len(target.y))
        bench.embed(pack, target.X.astype(np.float32), bench.backbone())
        labels = [f"class {c}" for c in source.y]
        X = source.X.astype(np.float32)
        spec = bench.spec("classification", labels, X, method=method, unlabelled_pack=path)
        outcome = run(spec, lambda event: None)
        files = {name: (Path(spec.output) / name).read_bytes() for name in outcome.manifest.files}
    return Fit(outcome.report, outcome.manifest, files)


def shifted_curve(seed: int, n: int = 150) -> tuple[Problem, NDArray[np.float64]]:
    """sinc(x) with noise 0.1 at x from N(1, 0.5^2), the target N(2, 0.25^2) (Sugiyama et al. 2007); the
    noiseless values [n, 1] there."""
    rng = np.random.default_rng(seed)
    x, there = rng.normal(1, 0.5, (n, 1)), rng.normal(2, 0.25, (n, 1))
    frame = Frame.of(np.concatenate([x, there]))
    noisy = np.sinc(x) + 0.1 * rng.normal(size=x.shape)
    problem = Problem(frame.enter(x), noisy, "regression", ("value",), seed, frame.enter(there))
    return problem, np.sinc(there)


def printed_digits(each: int = 60, seed: int = 0) -> Domain:
    """8 x 8 renderings in Pillow's own font, cropped and scaled as the scans are, tilted and blurred."""
    rng = np.random.default_rng(seed)
    y = np.repeat(np.arange(10), each)
    return Domain(np.stack([_rendered(digit, rng) for digit in y]), y)


def _rendered(digit: int, rng: np.random.Generator) -> NDArray[np.float64]:
    image = Image.new("L", (_CANVAS, _CANVAS))
    font = ImageFont.load_default(size=40)
    ImageDraw.Draw(image).text((20, 8), str(digit), fill=255, font=font)
    image = image.rotate(float(rng.uniform(-15, 15)), resample=Image.Resampling.BILINEAR)
    wide = int(rng.integers(5, 8))
    small = image.crop(image.getbbox()).resize((wide, _TALL), Image.Resampling.BOX)
    page = Image.new("L", (_TALL, _TALL))
    page.paste(small, ((_TALL - wide) // 2, 0))
    return np.asarray(page, np.float64).ravel() / 255


def digits_on_photos(seed: int) -> tuple[Examples, Examples, Examples]:
    """UCI digits of 20 pixels: 900 as scanned; 500 and 397 others as |part of a photograph - digit|.

    In the manner of MNIST-M (Ganin and Lempitsky 2015), with the two photographs of scikit-learn.
    """
    from sklearn.datasets import load_digits, load_sample_images

    rng, photos = np.random.default_rng(seed), load_sample_images().images
    scans, y = load_digits(return_X_y=True)
    order = rng.permutation(len(y))
    digits = [_enlarged(scan) for scan in scans]
    source, unlabelled, test = order[:900], order[900:1400], order[1400:]

    def pictures(rows: NDArray[np.int64], *, plain: bool) -> Examples:
        found = (digits[row] if plain else np.abs(_part(photos, rng) - digits[row]) for row in rows)
        files = [encode_png(picture.astype(np.uint8)) for picture in found]
        return Examples("image", files, [str(y[row]) for row in rows])

    return pictures(source, plain=True), pictures(unlabelled, plain=False), pictures(test, plain=False)


def _enlarged(scan: NDArray[np.float64]) -> NDArray[np.int64]:
    """8 x 8 values up to 16 as a picture [20, 20, 3], white on black."""
    small = Image.fromarray(np.rint(scan.reshape(8, 8) * 255 / 16).astype(np.uint8))
    grey = np.asarray(small.resize((SIDE, SIDE), Image.Resampling.BILINEAR), np.int64)
    return np.repeat(grey[:, :, None], 3, axis=2)


def _part(photos: Sequence[NDArray[np.uint8]], rng: np.random.Generator) -> NDArray[np.int64]:
    photo = photos[rng.integers(len(photos))]
    top, left = (int(rng.integers(length - SIDE)) for length in photo.shape[:2])
    return photo[top : top + SIDE, left : left + SIDE].astype(np.int64)
