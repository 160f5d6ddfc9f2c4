"""From packs and cached features to a recommendation: the setting, the order, the distance, the advice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models.base import Label, TaskName
from models.errors import JobFailed
from models.recommendation import LeftOut, RecommendationSpec, TapCandidate
from tests.training_support import Bench, blobs, names_of
from training.methods.base import Problem
from training.relatedness.adistance import Distance
from training.relatedness.advice import advise
from training.relatedness.run import run
from training.relatedness.sample import PILOT
from training.relatedness.setting import Facts, setting_of

TAPS = ("low", "top")


class Data:
    """Packs and their features at two taps of one backbone and one of a baseline: `top` is the clearest."""

    def __init__(self, root: Path) -> None:
        self.bench = Bench(root)
        self.backbones = (
            self.bench.backbone("image/net", TAPS),
            self.bench.backbone("image/raw", ("raw",), baseline=True),
        )

    def add(
        self, name: str, task: TaskName, labels: Sequence[Label], X: np.ndarray[Any, Any]
    ) -> tuple[str, str]:
        path, digest, pack = self.bench.pack(name, task, labels)
        noise = np.random.default_rng(0).normal(size=X.shape).astype(np.float32)
        net, raw = self.backbones
        for backbone, tap, times in ((net, "top", 0), (net, "low", 2), (raw, "raw", 4)):
            self.bench.embed(pack, X + times * noise, backbone, tap)
        return path, digest

    def spec(
        self, problem: Problem, labels: Sequence[Label] | None = None, **more: Any
    ) -> RecommendationSpec:
        path, digest = self.add("train", problem.task, labels or names_of(problem), problem.X)
        return RecommendationSpec(
            task=problem.task,
            modality="image",
            training_pack=path,
            training_digest=digest,
            backbones=self.backbones,
            default_taps={"image/net": "low", "image/raw": "raw"},
            features=str(self.bench.cache.folder),
            **more,
        )


@pytest.fixture
def data(tmp_path: Path) -> Data:
    return Data(tmp_path)


@pytest.mark.parametrize("task", ["classification", "regression", "multilabel"])
def test_every_tap_is_ranked_for_every_task(data: Data, task: TaskName) -> None:
    found = run(data.spec(blobs(task)))
    order = [(c.backbone, c.tap, c.baseline) for c in found.candidates]
    assert order == [("image/net", "top", False), ("image/net", "low", False), ("image/raw", "raw", True)]
    assert (found.setting.name, found.a_distance, found.examples) == ("few-shot", None, 24)
    assert "the tap top suits these examples better" in found.advice[0]
    again = run(data.spec(blobs(task)))
    assert [c.score for c in again.candidates] == [c.score for c in found.candidates]


def test_rows_without_a_label_are_left_out_and_many_are_sampled(data: Data) -> None:
    problem = blobs("classification", per_class=30)
    labels = [None if row % 2 else label for row, label in enumerate(names_of(problem))]
    assert run(data.spec(problem, labels)).examples == 45
    assert run(data.spec(problem, labels, most=20)).examples == 20


def test_what_costs_too_much_time_is_looked_at_in_part(data: Data) -> None:
    spec = data.spec(blobs("classification", per_class=100))
    assert run(spec).examples == 300  # cached
    part = run(spec.model_copy(update={"seconds": 1e-9}))
    assert part.examples == PILOT
    assert any(line.startswith(f"Only {PILOT} of 300 examples were looked at") for line in part.advice)


def test_another_domain_is_seen_and_its_distance_told(data: Data) -> None:
    problem = blobs("classification", per_class=20)
    alike = blobs("classification", per_class=20, seed=2)
    near, _ = data.add("near", "classification", [None] * 60, alike.X)
    far, _ = data.add("far", "classification", [None] * 60, problem.X + 5)
    same = run(data.spec(problem, unlabelled_pack=near))
    other = run(data.spec(problem, unlabelled_pack=far))
    assert same.setting.name == "inductive"
    assert "of the training file's domain" in same.setting.why
    assert same.a_distance is not None
    assert other.a_distance is not None
    assert same.a_distance < 0.5 < 1.5 < other.a_distance
    assert other.setting.name == "transductive"
    assert any("adapt, with one of: " in line and "coral" in line for line in other.advice)


def test_without_labels_nothing_is_ranked(data: Data) -> None:
    problem = blobs("classification")
    found = run(data.spec(problem, [None] * len(problem)))
    assert found.setting.name == "zero-shot"
    assert [(c.backbone, c.tap, c.score) for c in found.candidates] == [
        ("image/net", "low", None),
        ("image/raw", "raw", None),
    ]
    assert found.advice[0].startswith("Without labels only these methods work: ")


def test_data_that_went_away_is_told(data: Data) -> None:
    spec = data.spec(blobs("classification"))
    Path(spec.training_pack).unlink()
    with pytest.raises(JobFailed) as caught:
        run(spec)
    assert caught.value.code == "data_gone"


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (Facts("classification", 10, (1,) * 10), "one-shot"),
        (Facts("classification", 14, (1, 1, 12)), "one-shot"),
        (Facts("classification", 10, (5, 5)), "few-shot"),
        (Facts("multilabel", 40, (20, 30)), "inductive"),
        (Facts("regression", 39, ()), "few-shot"),
        (Facts("regression", 40, ()), "inductive"),
        (Facts("classification", 0, ()), "zero-shot"),
        (Facts("regression", 0, ()), "unsupervised"),
        (Facts("classification", 10, (5, 5), 9, None), "transductive"),
        (Facts("classification", 10, (5, 5), 9, Distance(1.9, 0.2)), "transductive"),
        (Facts("classification", 10, (5, 5), 9, Distance(0.6, 0.4)), "few-shot"),
        (Facts("classification", 10, (5, 5), 900, Distance(0.3, 0.01)), "few-shot"),
    ],
)
def test_the_setting_follows_from_the_data(facts: Facts, name: str) -> None:
    setting = setting_of(facts)
    assert setting.name == name
    assert setting.why.endswith(".")


def candidate(tap: str, value: float, **more: Any) -> TapCandidate:
    loo = LeftOut(metric="accuracy", value=value, n=100)
    return TapCandidate(**{"backbone": "image/net", "tap": tap, "score": 1.0, "loo": loo, **more})


def advice(*ranked: TapCandidate, counts: tuple[int, ...] = (50, 50)) -> str:
    facts = Facts("classification", sum(counts), counts)
    return " ".join(advise(facts, "image", ranked, {"image/net": "top", "image/raw": "raw"}))


def test_advice_says_what_is_more_than_noise() -> None:
    assert advice(candidate("top", 0.9), candidate("low", 0.5)) == ""
    assert "the tap low suits" in advice(candidate("low", 0.9), candidate("top", 0.5))
    close = advice(candidate("low", 0.90), candidate("top", 0.89), candidate("stem", 0.5))
    assert close == "The first 2 candidates are too close for these examples to tell them apart."
    wide = advice(candidate("low", 0.9), candidate("stem", 0.5), candidate("top", 0.89))
    assert wide == ""  # the default one, third by the score, may be as good
    raw = candidate("raw", 0.9, backbone="image/raw", baseline=True)
    assert "A declared baseline, image/raw, comes first" in advice(raw, candidate("top", 0.5))
    assert "1 of 2 classes have fewer than 5 examples" in advice(candidate("top", 0.9), counts=(3, 50))
    alone = candidate("top", 0.9, score=None, loo=None)
    assert "No class has two examples" in advice(alone, counts=(1, 1))
