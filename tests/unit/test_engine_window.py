from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.engine.window import PAIRS, choose


@given(st.lists(st.integers(1, 128), min_size=1, max_size=128), st.integers(1, 32), st.integers(0, 4096))
def test_the_oldest_is_in_and_the_limit_holds(sizes: list[int], limit: int, run_cost: int) -> None:
    rows = choose(sizes, limit, run_cost)
    assert 0 in rows
    assert 1 <= len(rows) <= limit
    assert len(set(rows)) == len(rows)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=12), st.integers(1, 5))
def test_no_other_window_with_the_oldest_gets_more_done(sizes: list[int], limit: int) -> None:
    def value(rows: list[int]) -> float:
        return sum(sizes[i] for i in rows) / (8 + len(rows) * max(sizes[i] for i in rows))

    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    windows = [order[i:j] for i, j in itertools.combinations(range(len(sizes) + 1), 2) if j - i <= limit]
    best = max(value(rows) for rows in windows if 0 in rows)
    assert value(choose(sizes, limit, 8)) == pytest.approx(best)


@given(st.lists(st.integers(1, 256), min_size=1, max_size=12), st.integers(1, 5))
def test_where_only_attention_pads_only_its_pairs_are_waste(sizes: list[int], limit: int) -> None:
    def value(rows: list[int]) -> float:
        useful, longest = sum(sizes[i] for i in rows), max(sizes[i] for i in rows)
        return useful / (8 + useful + sum(longest**2 - sizes[i] ** 2 for i in rows) / PAIRS)

    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    windows = [order[i:j] for i, j in itertools.combinations(range(len(sizes) + 1), 2) if j - i <= limit]
    best = max(value(rows) for rows in windows if 0 in rows)
    assert value(choose(sizes, limit, 8, padded=False)) == pytest.approx(best)


def test_short_texts_of_any_length_batch_together_but_not_with_a_long_one() -> None:
    short = [5, 27, 12, 19, 8, 16, 23, 10] * 4
    assert len(choose(short, 32, 8, padded=False)) > 24
    assert len(choose(short, 32, 8)) < 20
    assert 31 not in choose([*short[:31], 256], 32, 8, padded=False)


def test_equal_sizes_run_in_order() -> None:
    assert choose([1] * 10, 4, 8) == [0, 1, 2, 3]


def test_a_costly_start_fills_the_batch() -> None:
    assert len(choose([10, 120] * 8, 16, 4096)) == 16
    assert sorted(choose([10, 120] * 8, 16, 8)) == list(range(0, 16, 2))
