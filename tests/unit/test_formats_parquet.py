import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.dataset import Pack
from models.errors import InvalidInput, TooLarge
from models.formats import parquet, read_pack
from tests.media import clip, png, tone


def table(**columns: object) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    return buffer.getvalue()


def read(data: bytes, **more: str | None) -> Pack:
    return read_pack("train.parquet", data, **{"modality": None, "task": None, **more})


def error(data: bytes, **more: str | None) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(data, **more)
    return caught.value


def test_texts():
    pack = read(table(text=["x", "y", "z"], label=["a", "b", None], split=[1, 1, 1]))
    assert pack.contents == (b"x", b"y", b"z")
    assert pack.labels == ("a", "b", None)
    assert pack.warnings == ("other columns ignored: 1",)


@pytest.mark.parametrize(
    ("column", "content", "modality"),
    [
        ("image", png(), "image"),
        ("input", png(), "image"),
        ("audio", clip(tone()), "audio"),
        ("input", clip(tone()), "audio"),
        ("image", {"bytes": png(), "path": None}, "image"),
        ("input", [1.0, 2.0], "signal"),
        ("input", {"grid": [0.0, 1.0], "values": [1.0, 2.0]}, "signal"),
    ],
)
def test_encoded_media_and_nested_signals(column, content, modality):
    pack = read(table(**{column: [content], "label": ["a"]}))
    assert pack.input.modality == modality
    assert len(pack) == 1


def test_numeric_columns_are_signals():
    pack = read(table(**{"1.0": [1.0, 3.0], "2.0": [2, 4], "label": [0.5, 1.5]}))
    assert pack.task == "regression"
    assert pack.input.grid is not None
    assert (pack.input.grid.lo, pack.input.grid.hi) == (1, 2)
    assert np.frombuffer(pack.contents[1], "<f4").tolist() == [3, 4]


def test_the_index_that_pandas_stores_is_no_channel():
    pack = read(table(u=[1.0], v=[2.0], label=["a"], __index_level_0__=[7]))
    assert pack.input.grid is not None
    assert pack.input.grid.length == 2


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        (table(foo=["x"], label=["a"]), "wrong_columns", "file"),
        (table(text=["x"], image=[png()]), "wrong_columns", "file"),
        (table(label=["a"]), "wrong_columns", "file"),
        (table(text=["x", None], label=["a", "b"]), "missing_field", "row 2"),
        (table(text=["x", "y"], label=[True, False]), "bad_label", "row 1"),
        (table(text=["x", "y"], label=[1.5, float("nan")]), "bad_label", "row 2"),
        (table(u=[1.0, None], v=[1.0, 2.0], label=["a", "b"]), "non_finite", "row 2"),
        (table(image=[png(), b"broken"], label=["a", "b"]), "unsupported_media", "row 2"),
        (table(text=pa.array([], pa.string())), "empty_file", "file"),
        (table(text=["x"], label=["a"])[:-10], "undecodable", "file"),
        (b"PAR1" + bytes(100) + b"PAR1", "undecodable", "file"),
    ],
)
def test_bad_files_name_the_place(data, code, param):
    refused = error(data)
    assert (refused.code, refused.param) == (code, param)


def test_a_stated_modality_picks_its_column():
    assert read(table(text=["x"], image=[png()]), modality="image").input.modality == "image"


def test_the_limit_of_decompressed_bytes(monkeypatch):
    monkeypatch.setattr(parquet, "MAX_BYTES", 100_000)
    with pytest.raises(TooLarge):
        read(table(text=["x" * 50_000] * 3, label=["a"] * 3))


def test_cut_and_changed_files_raise_only_our_errors():
    data = table(text=["x", "y"], label=["a", "b"])
    rng = np.random.default_rng(0)
    for _ in range(50):
        mutant = bytearray(data)
        mutant[rng.integers(4, len(data))] = rng.integers(256)
        try:
            read(bytes(mutant))
        except InvalidInput as refused:
            refusal = refused
        else:
            continue
        assert refusal.code
