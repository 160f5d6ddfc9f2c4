"""How large batches become: as large as is fastest on this machine, and no larger."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from app.engine.sizes import TRIES, Sizes


def chosen(sizes: Sizes, cost: Callable[[int], float], batches: int, waiting: int = 1_000) -> Counter[int]:
    found: Counter[int] = Counter()
    for _ in range(batches):
        count = sizes.best(waiting)
        assert count <= max(4, waiting)
        found[count] += 1
        sizes.learn(count, cost(count))
    return found


@pytest.mark.parametrize("fastest", [4, 8, 16, 32])
def test_the_fastest_number_is_found_and_kept(fastest: int) -> None:
    def cost(count: int) -> float:
        return 1.0 + 0.1 * abs(count - fastest) / fastest

    sizes = Sizes(4, 32)
    chosen(sizes, cost, 4 * TRIES)
    assert chosen(sizes, cost, 1_000)[fastest] >= 980


def test_of_two_that_are_alike_it_is_the_smaller_that_answers_sooner() -> None:
    sizes = Sizes(4, 32)
    chosen(sizes, lambda count: 1.0 + 1 / count, 4 * TRIES)
    assert sizes.best(1_000) == 32
    level = Sizes(4, 32)
    chosen(level, lambda count: 1.0, 4 * TRIES)
    chosen(level, lambda count: 1.0, 1)
    assert level.best(1_000) == 4


def test_a_machine_that_changes_is_followed() -> None:
    sizes = Sizes(4, 32)
    chosen(sizes, lambda count: 1.0 + count / 32, 500)
    assert chosen(sizes, lambda count: 2.0 - count / 32, 3_000).most_common(1)[0][0] == 32


def test_first_runs_and_hitches_do_not_decide() -> None:
    seen: Counter[int] = Counter()

    def cost(count: int) -> float:
        seen[count] += 1
        slow = seen[count] == 1 or (count == 8 and seen[count] % 10 == 0)
        return (100.0 if slow else 1.0) * (1.0 if count == 8 else 1.5)

    sizes = Sizes(4, 32)
    found = chosen(sizes, cost, 600)
    assert found[8] > 500


def test_no_more_are_asked_for_than_wait() -> None:
    sizes = Sizes(4, 32)
    chosen(sizes, lambda count: 1 / count, 4 * TRIES)
    assert [sizes.best(waiting) for waiting in (1, 3, 4)] == [4, 4, 4]


def test_all_are_asked_for_where_more_would_be_faster_still() -> None:
    sizes = Sizes(4, 32)
    chosen(sizes, lambda count: 1 / count, 4 * TRIES)
    assert [sizes.best(waiting) for waiting in (5, 9, 31, 32, 100)] == [5, 9, 31, 32, 32]
    fewer = Sizes(4, 32)
    chosen(fewer, float, 4 * TRIES)
    assert [fewer.best(waiting) for waiting in (5, 9, 31)] == [4, 4, 4]


def test_numbers_end_at_the_largest_batch() -> None:
    assert set(chosen(Sizes(4, 12), lambda count: 1 / count, 100)) == {4, 8, 12}
    assert set(chosen(Sizes(4, 2), lambda count: 1.0, 10)) == {2}
