"""What is particular to a GPU, without one: sizes of batches, memory that is lent, tails."""

from __future__ import annotations

import gc
import threading
from pathlib import Path

import numpy as np
import pytest

from app.engine.gpu import GpuRuns, sizes
from app.engine.heads import TailHead
from app.engine.pinned import Pinned, page_locked
from models.cut import INPUT
from models.runtime import Backbone
from tests.trunks import POINTS, card, signal_backbone

SIGNALS = np.random.default_rng(0).normal(size=(5, POINTS)).astype(np.float32)


class Recorded(Backbone):
    """Notes how many inputs each run has, with the session's own number."""

    def __init__(self, folder: Path, seen: list[tuple[int, int, tuple[str, ...]]]) -> None:
        super().__init__(folder)
        self.seen = seen

    def run(self, batch, taps, empty=np.empty):
        self.seen.append((id(self), len(batch), tuple(taps)))
        return super().run(batch, taps, empty)


class Opened:
    """Opens the backbone of a folder as often as it is asked to."""

    def __init__(self, folder: Path) -> None:
        signal_backbone(folder)
        self.folder = folder
        self.seen: list[tuple[int, int, tuple[str, ...]]] = []

    def __call__(self) -> Recorded:
        return Recorded(self.folder, self.seen)

    def runs(self, most: int) -> GpuRuns:
        return GpuRuns(self(), self, most, ordinary())

    def counts(self) -> list[int]:
        return [count for _, count, _ in self.seen]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path)


def ordinary() -> Pinned:
    return Pinned(lambda nbytes: np.empty(nbytes, np.uint8))


def test_all_sizes_are_run_before_the_first_request(opened: Opened) -> None:
    opened.runs(128)
    assert opened.counts() == [8, 32, 128]


def test_a_batch_is_filled_up_and_the_filling_is_not_answered(opened: Opened) -> None:
    runs = opened.runs(32)
    for count, size in ((1, 2), (2, 2), (3, 8), (5, 8)):
        expected = Backbone(opened.folder).run(SIGNALS[:count], ["top"])["top"]
        np.testing.assert_array_equal(runs.run(list(SIGNALS[:count]), ["top"])["top"], expected)
        assert opened.counts()[-1] == size


def test_no_session_ever_sees_a_second_size(opened: Opened) -> None:
    runs = opened.runs(4)
    for count in (1, 3, 2, 4, 1, 4, 3):
        runs.run(list(SIGNALS[:count]), ["top"])
        runs.run(list(SIGNALS[:count]), ["low"])
    by_session: dict[int, set[int]] = {}
    for session, count, _ in opened.seen:
        by_session.setdefault(session, set()).add(count)
    assert sorted(map(tuple, by_session.values())) == [(1,), (4,)]


def test_another_tap_is_made_ready_once(opened: Opened) -> None:
    runs = opened.runs(4)
    opened.seen.clear()
    for _ in range(2):
        runs.run(list(SIGNALS[:1]), ["low"])
    assert opened.counts() == [1, 4, 1, 1]


def test_who_comes_while_it_is_made_ready_waits_for_that(opened: Opened) -> None:
    runs = opened.runs(4)
    opened.seen.clear()
    threads = [threading.Thread(target=runs.run, args=(list(SIGNALS[:1]), ["low"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened.counts() == [1, 4, 1, 1, 1, 1]


def test_texts_run_as_they_are_in_one_session(opened: Opened) -> None:
    backbone = opened()
    backbone.card = card("text/tiny", "text").model_copy(update={"taps": backbone.card.taps})
    runs = GpuRuns(backbone, opened, 8, ordinary())
    assert opened.seen == []
    for count in (3, 1):
        assert runs.run(list(SIGNALS[:count]), ["top"])["top"].shape == (count, 6)
        assert opened.seen[-1] == (id(backbone), count, ("top",))
    assert runs.nbytes == backbone.nbytes


def test_the_memory_of_all_sessions_counts(opened: Opened) -> None:
    assert opened.runs(128).nbytes == 3 * opened().nbytes


def test_edges_are_those_of_the_inputs_and_outlive_the_memory_that_was_lent(opened: Opened) -> None:
    runs = opened.runs(8)
    first = runs.edges(list(SIGNALS[:3]), INPUT)
    runs.edges(list(SIGNALS[2:5]), INPUT)
    np.testing.assert_array_equal(first["x"], SIGNALS[:3])


def test_sizes_reach_the_largest_batch() -> None:
    assert sizes(128) == [8, 32, 128]
    assert sizes(32) == [2, 8, 32]
    assert sizes(4) == [1, 4]
    assert sizes(1) == [1]


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


@pytest.mark.parametrize(("size", "seen"), [(None, [5]), (2, [2, 2, 2])])
def test_a_tail_may_run_on_batches_of_one_size_alone(size: int | None, seen: list[int]) -> None:
    session, rows = Doubling(), [0, 2, 4, 1, 3]
    outputs, features = TailHead(session, "low", size=size).apply({"edge": SIGNALS}, rows)
    assert session.seen == seen
    np.testing.assert_array_equal(outputs, 2 * SIGNALS[rows])
    np.testing.assert_array_equal(features, SIGNALS[rows])
