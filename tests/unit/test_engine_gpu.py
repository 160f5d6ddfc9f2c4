"""What is particular to a GPU, without one: sizes of batches, memory that is lent, tails."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from app.engine.gpu import GpuRuns, filled, sizes
from app.engine.heads import TailHead
from app.engine.pinned import Pinned, page_locked
from models.cut import INPUT
from models.runtime import Backbone
from tests.trunks import POINTS, card, signal_backbone

SIGNALS = np.random.default_rng(0).normal(size=(5, POINTS)).astype(np.float32)


class Recorded(Backbone):
    """Notes how many inputs each run has."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.seen: list[tuple[int, tuple[str, ...]]] = []

    def run(self, batch, taps, empty=np.empty):
        self.seen.append((len(batch), tuple(taps)))
        return super().run(batch, taps, empty)


@pytest.fixture
def backbone(tmp_path: Path) -> Recorded:
    signal_backbone(tmp_path)
    return Recorded(tmp_path)


def ordinary() -> Pinned:
    return Pinned(lambda nbytes: np.empty(nbytes, np.uint8))


def test_all_sizes_are_run_before_the_first_request(backbone: Recorded) -> None:
    GpuRuns(backbone, 6, ordinary())
    assert backbone.seen == [(size, ("top",)) for size in (1, 2, 4, 8)]


def test_a_batch_is_filled_up_and_the_filling_is_not_answered(backbone: Recorded) -> None:
    runs = GpuRuns(backbone, 8, ordinary())
    expected = {count: Backbone.run(backbone, SIGNALS[:count], ["top"])["top"] for count in range(1, 6)}
    for count, features in expected.items():
        np.testing.assert_array_equal(runs.run(list(SIGNALS[:count]), ["top"])["top"], features)
        assert backbone.seen[-1] == (filled(count), ("top",))


def test_another_tap_is_made_ready_once(backbone: Recorded) -> None:
    runs = GpuRuns(backbone, 4, ordinary())
    backbone.seen.clear()
    for _ in range(2):
        runs.run(list(SIGNALS[:1]), ["low"])
    assert [size for size, _ in backbone.seen] == [1, 2, 4, 1, 1]


def test_who_comes_while_it_is_made_ready_waits_for_that(backbone: Recorded) -> None:
    runs = GpuRuns(backbone, 4, ordinary())
    backbone.seen.clear()
    threads = [threading.Thread(target=runs.run, args=(list(SIGNALS[:1]), ["low"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [size for size, _ in backbone.seen[:3]] == [1, 2, 4]
    assert len(backbone.seen) == 3 + 4


def test_texts_run_as_they_are(backbone: Recorded) -> None:
    backbone.card = card("text/tiny", "text").model_copy(update={"taps": backbone.card.taps})
    runs = GpuRuns(backbone, 8, ordinary())
    assert backbone.seen == []
    assert runs.run(list(SIGNALS[:3]), ["top"])["top"].shape == (3, 6)
    assert backbone.seen == [(3, ("top",))]


def test_edges_are_those_of_the_inputs_and_outlive_the_memory_that_was_lent(backbone: Recorded) -> None:
    runs = GpuRuns(backbone, 8, ordinary())
    first = runs.edges(list(SIGNALS[:3]), INPUT)
    runs.edges(list(SIGNALS[2:5]), INPUT)
    np.testing.assert_array_equal(first["x"], SIGNALS[:3])


def test_sizes_reach_the_largest_batch() -> None:
    assert sizes(1) == [1]
    assert sizes(128) == [1, 2, 4, 8, 16, 32, 64, 128]
    assert sizes(100)[-1] == 128
    assert [filled(count) for count in (1, 2, 3, 33)] == [1, 2, 4, 64]


def test_what_was_lent_comes_back_and_is_lent_again() -> None:
    asked: list[int] = []

    def allocate(nbytes: int):
        asked.append(nbytes)
        return np.empty(nbytes, np.uint8)

    pinned = Pinned(allocate)
    for rows in (3, 1, 4):
        with pinned.lent() as empty:
            a, b = empty((rows, 1000), np.float32), empty((rows,), np.int64)
            a[...], b[...] = 1, 2
            assert (a == 1).all()
            assert a.shape == (rows, 1000)
    assert asked == [1 << 16, 1 << 16]
    with pinned.lent() as empty:
        empty((100, 1000), np.float32)
    assert asked == [1 << 16, 1 << 16, 1 << 19]


def test_two_runs_at_a_time_have_memory_of_their_own() -> None:
    pinned = ordinary()
    with pinned.lent() as empty, pinned.lent() as other:
        a, b = empty((8,), np.float32), other((8,), np.float32)
        a[...], b[...] = 1, 2
        assert (a == 1).all()


def test_memory_is_lent_again_after_a_run_that_failed() -> None:
    asked: list[int] = []
    pinned = Pinned(lambda nbytes: asked.append(nbytes) or np.empty(nbytes, np.uint8))

    def fails() -> None:
        with pinned.lent() as empty:
            empty((8,), np.float32)
            raise ZeroDivisionError

    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            fails()
    assert len(asked) == 1


def test_without_a_cuda_runtime_memory_is_ordinary() -> None:
    allocate = page_locked()
    memory = allocate(100)
    memory[...] = 7
    assert memory.tolist() == [7] * 100
    del memory
    gc.collect()


class Doubling:
    """A tail's session: notes how many rows it is given."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    def get_inputs(self):
        class Value:
            name = "edge"

        return [Value()]

    def run(self, _, feeds):
        self.seen.append(len(feeds["edge"]))
        return 2 * feeds["edge"], feeds["edge"]


@pytest.mark.parametrize(("on_gpu", "rows"), [(False, 3), (True, 4)])
def test_a_tail_on_a_gpu_is_filled_up_too(on_gpu: bool, rows: int) -> None:
    session = Doubling()
    outputs, features = TailHead(session, "low", on_gpu=on_gpu).apply({"edge": SIGNALS}, [0, 2, 4])
    assert session.seen == [rows]
    np.testing.assert_array_equal(outputs, 2 * SIGNALS[[0, 2, 4]])
    np.testing.assert_array_equal(features, SIGNALS[[0, 2, 4]])
