"""The cache of features, and how it forgets."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from models.features import FeatureCache, size

DIGEST = "a" * 64
DAY = 86_400.0


@pytest.fixture
def cache(tmp_path: Path) -> FeatureCache:
    return FeatureCache(tmp_path / "features")


def put(cache: FeatureCache, *names: str, dim: int = 4) -> None:
    cache.put(DIGEST, "top", names, np.array([[float(name)] * dim for name in names], np.float32))


def age(cache: FeatureCache, seconds: float) -> None:
    """As if nobody had written to what is there since."""
    for path in cache.folder.glob("*.sqlite"):
        told = path.stat()
        os.utime(path, (told.st_atime, told.st_mtime - seconds))


def files(cache: FeatureCache) -> list[str]:
    return sorted(path.name for path in cache.folder.iterdir())


def begin_another(cache: FeatureCache) -> None:
    cache.trim(most_bytes=1, most_seconds=DAY)


def test_what_was_put_is_found_bit_for_bit(cache: FeatureCache) -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32)
    cache.put(DIGEST, "top", ["x", "y", "z"], vectors)
    found = cache.get(DIGEST, "top", ["z", "x", "none"])
    assert set(found) == {"x", "z"}
    assert np.array_equal(found["z"], vectors[2])
    assert cache.missing(DIGEST, "top", ["none", "x", "none"]) == ["none"]
    assert cache.missing(DIGEST, "top+layer_3", ["x"]) == ["x"]


def test_a_full_file_is_followed_by_another(cache: FeatureCache) -> None:
    put(cache, "1")
    begin_another(cache)
    put(cache, "2")
    assert len(files(cache)) == 2
    assert set(cache.get(DIGEST, "top", ["1", "2", "3"])) == {"1", "2"}
    assert cache.missing(DIGEST, "top", ["1", "2", "3"]) == ["3"]


def test_a_file_with_room_goes_on(cache: FeatureCache) -> None:
    put(cache, "1")
    assert cache.trim(most_bytes=1 << 30, most_seconds=DAY) == 0
    assert len(files(cache)) == 1


def test_the_longest_unused_goes_first(cache: FeatureCache) -> None:
    put(cache, "1", "2")
    begin_another(cache)
    cache.get(DIGEST, "top", ["1"])  # used: it is in the newer file too now
    age(cache, 700)
    assert cache.trim(most_bytes=size(cache.folder), most_seconds=DAY) == 1
    assert cache.missing(DIGEST, "top", ["1", "2"]) == ["2"]


def test_unused_for_too_long_goes_even_where_there_is_room(cache: FeatureCache) -> None:
    put(cache, "1")
    begin_another(cache)
    age(cache, DAY + 1)
    assert cache.trim(most_bytes=1 << 30, most_seconds=DAY) == 1
    assert cache.missing(DIGEST, "top", ["1"]) == ["1"]


def test_a_file_too_old_to_take_more_is_followed_by_another(cache: FeatureCache) -> None:
    put(cache, "1")
    begun = int(files(cache)[0].partition(".")[0])
    cache.trim(most_bytes=1 << 30, most_seconds=DAY, now=begun + DAY / 8 + 2)
    assert len(files(cache)) == 2


def test_what_was_just_written_stays_whatever_its_size(cache: FeatureCache) -> None:
    for name in "123":
        put(cache, name, dim=1000)
        begin_another(cache)
    assert cache.trim(most_bytes=1, most_seconds=DAY) == 0
    assert cache.missing(DIGEST, "top", ["1", "2", "3"]) == []


def test_the_newest_is_never_dropped(cache: FeatureCache) -> None:
    put(cache, "1")
    age(cache, 700)
    for _ in range(3):
        cache.trim(most_bytes=1, most_seconds=1.0)
        age(cache, 700)
    put(cache, "2")
    assert set(cache.get(DIGEST, "top", ["1", "2"])) == {"2"}


def test_a_clock_that_was_set_back_begins_no_older_file(cache: FeatureCache) -> None:
    put(cache, "1")
    (first,) = files(cache)
    cache.trim(most_bytes=1, most_seconds=DAY, now=1000.0)
    assert files(cache)[0] == first
    assert len(files(cache)) == 2


def test_one_that_is_dropped_while_it_is_read_is_only_missing(
    cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, "1")
    begin_another(cache)
    listed = cache._parts()
    listed[1].unlink()
    monkeypatch.setattr(cache, "_parts", lambda: listed)
    assert cache.get(DIGEST, "top", ["1"]) == {}
    assert cache.missing(DIGEST, "top", ["1"]) == ["1"]
    assert not listed[1].exists(), "a read made an empty file in its place"


def test_a_file_that_is_no_database_is_told(cache: FeatureCache) -> None:
    (cache.folder / files(cache)[0]).write_bytes(b"no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        cache.get(DIGEST, "top", ["1"])


def test_a_fault_is_no_absence(cache: FeatureCache) -> None:
    """Of a file that is there: what cannot be read must not be computed again as if it were missing."""
    with sqlite3.connect(cache.folder / files(cache)[0]) as db:
        db.execute("DROP TABLE features")
    for ask in (cache.get, cache.missing):
        with pytest.raises(sqlite3.OperationalError):
            ask(DIGEST, "top", ["1"])


def test_only_whole_files_have_a_name(cache: FeatureCache) -> None:
    FeatureCache(cache.folder)
    begin_another(cache)
    assert all(name.endswith(".sqlite") for name in files(cache))
