"""The soak's judge: what grows is found, what only comes and goes is not."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import pytest

from app.client.results import Predictions
from tests.soak.__main__ import soak
from tests.soak.load import same
from tests.soak.watch import Sample, Watch, growth, verdict

TWO_HOURS = [Sample(30.0 * i, 600 + random.Random(i).uniform(-15, 15), 90, 25, 100.0) for i in range(241)]


def changed(name: str, per_hour: float) -> list[Sample]:
    return [
        replace(sample, **{name: getattr(sample, name) + per_hour * sample.seconds / 3600})
        for sample in TWO_HOURS
    ]


def test_a_steady_service_passes() -> None:
    assert verdict(TWO_HOURS) == []


def test_memory_that_is_taken_once_passes() -> None:
    first = [replace(sample, megabytes=sample.megabytes - 300) for sample in TWO_HOURS[:20]]
    assert verdict([*first, *TWO_HOURS[20:]]) == []


@pytest.mark.parametrize(
    ("name", "per_hour", "word"),
    [
        ("megabytes", 25.0, "an hour"),
        ("megabytes", 80.0, "memory grew"),
        ("files", 30, "open"),
        ("threads", 15, "threads"),
    ],
)
def test_what_grows_is_found(name: str, per_hour: float, word: str) -> None:
    assert any(word in line for line in verdict(changed(name, per_hour)))


def test_growth_is_told_in_its_units() -> None:
    found = growth(changed("megabytes", 40.0))
    assert found.slope == pytest.approx(40.0, abs=3)
    assert found.megabytes == pytest.approx(40 * 2 * 0.85 * 0.85, abs=10)


def test_a_process_that_ended_is_found() -> None:
    assert verdict([*TWO_HOURS[:-1], replace(TWO_HOURS[-1], lost=("7",))]) == ["processes ended: 7"]


def test_a_watch_sees_this_process(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 2_000_000)
    seen = Watch(os.getpid(), tmp_path).sample(1.0)
    assert seen.megabytes > 1
    assert seen.files > 1
    assert seen.threads >= 1
    assert seen.disk_mb >= 2
    assert seen.lost == ()


def answer(score: float = 0.75, digest: str = "d") -> Predictions:
    data = [{"index": 0, "label": "a", "score": score, "scores": [{"label": "a", "score": score}]}]
    return Predictions.model_validate(
        {"id": "p", "model": "m", "version": 1, "digest": digest, "object": "list", "data": data}
    )


def test_an_answer_that_changed_is_found() -> None:
    assert same(answer(), answer(0.750001))
    assert not same(answer(), answer(0.7502))
    assert not same(answer(), answer(digest="e"))


@pytest.mark.nightly
@pytest.mark.timeout(300)
def test_a_minute_of_it(tmp_path: Path) -> None:
    seen, samples = soak(60.0, 1, tmp_path)
    assert seen.wrong == []
    assert samples[-1].lost == ()
    assert seen.counts["predictions"] > 100
