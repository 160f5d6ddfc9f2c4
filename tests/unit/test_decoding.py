"""Whatever a native decoder does, the service answers with a 4xx that names the item, and lives."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.lib import format as npy
from PIL import Image

from app.decoding import decoders as decoders_module
from app.decoding import pool as pool_module
from app.decoding.decoders import Decoders
from app.decoding.nursery import Nursery
from app.engine.engine import Engine
from app.errors import status_of
from models.backbone import ImagePreprocess
from models.dataset import Pack
from models.errors import DurianError, InvalidInput, TooLarge, Unavailable
from models.formats import read_pack
from models.manifest import SignalGrid
from models.modalities import preprocessor
from models.shelf import SHIPPED, Shelf
from tests.media import card, clip, encoded, jsonl, npz, picture, png, tone, zipped

MIB = 1024 * 1024
CAT, DOG = png(seed=1), png(seed=2)
SECONDS = {False: 0.3, True: 5.0}
"""Of CPU for a picture, whether its decoder eats memory: touching 256 MiB takes a busy machine its time."""


@pytest.fixture(scope="module")
def hostile() -> Iterator[Nursery]:
    nursery = Nursery("tests.hostile_decoders")
    yield nursery
    nursery.close()


@pytest.fixture
def make(hostile: Nursery) -> Iterator[Any]:
    """Decoders over children whose decoders break."""
    made: list[Decoders] = []

    def build(most: int = 1, **limits: Any) -> Decoders:
        made.append(Decoders(most, nursery=hostile, **limits))
        return made[-1]

    yield build
    for decoders in made:
        decoders.close()


@pytest.fixture(scope="module")
def plain() -> Iterator[Decoders]:
    decoders = Decoders(1)
    yield decoders
    decoders.close()


def read(decoders: Decoders, data: bytes, name: str = "a.zip", **more: str | None) -> Pack:
    return decoders.read_pack(name, data, **{"modality": None, "task": None, **more})


def error(decoders: Decoders, data: bytes, name: str = "a.zip") -> DurianError:
    with pytest.raises(DurianError) as caught:
        read(decoders, data, name)
    return caught.value


# --- what a child answers is what the formats answer --------------------------------------------

FILES = {
    "texts.jsonl": jsonl({"input": "ä", "label": "a"}, {"input": "b"}, {"input": "b"}),
    "lists.jsonl": jsonl({"input": "x", "label": ["b", "a"]}, {"input": "y", "label": []}),
    "numbers.csv": b"850,851,label\n1,2,0.1\n3,4,1e300\n",
    "pictures.zip": zipped(
        {"cat/1.png": CAT, "dog/1.jpg": encoded(picture(), "JPEG"), "unlabelled/1.png": DOG}
    ),
    "sounds.zip": zipped({"a/1.wav": clip(tone()), "b/1.flac": clip(tone(0.2), container="FLAC")}),
    "pixels.npz": npz(x=np.zeros((2, 4, 5), np.uint8) + np.arange(2, dtype=np.uint8)[:, None, None]),
}


@pytest.mark.parametrize("name", FILES)
def test_a_pack_is_the_same_from_a_child(plain: Decoders, name: str) -> None:
    there, here = read(plain, FILES[name], name), read_pack(name, FILES[name], modality=None, task=None)
    assert there == here
    assert there.warnings == here.warnings
    assert there.to_bytes() == here.to_bytes()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.zip", zipped({"cat/1.png": CAT, "../dog/1.png": DOG})),
        ("a.zip", zipped({"cat/1.png": CAT[:50]})),
        ("a.exe", b"MZ"),
        ("a.jsonl", b'{"input": "x", "label": NaN}'),
        ("a\ud800.csv", b"text,label\nx,\xff"),
        ("a.parquet", b"PAR1 and no more"),
    ],
)
def test_a_refusal_is_the_same_from_a_child(plain: Decoders, name: str, data: bytes) -> None:
    with pytest.raises(DurianError) as here:
        read_pack(name, data, modality=None, task=None)
    there = error(plain, data, name)
    assert type(there) is type(here.value)
    assert vars(there) == vars(here.value)


def test_rows_of_a_request(plain: Decoders) -> None:
    rows = [("example 0", CAT, "cat"), ("example 1", "data:image/png;base64,", None)]
    assert plain.pack_rows(rows[:1], modality=None, task=None).contents == (CAT,)
    with pytest.raises(DurianError, match="example 1") as caught:
        plain.pack_rows(rows, modality="image", task="classification")
    assert caught.value.code == "unsupported_media"
    with pytest.raises(InvalidInput, match="example 0") as caught:
        plain.pack_rows([("example 0", CAT, float("nan"))], modality="image", task="regression")
    assert caught.value.code == "bad_label"


def test_texts_and_numbers_need_no_child() -> None:
    nobody = Decoders(1, nursery=Nursery("no.such.module"))
    texts = [("example 0", "QUJD", "a"), ("example 1", "b", "b")]
    assert nobody.pack_rows(texts, modality=None, task=None).contents == (b"QUJD", b"b")
    grid = SignalGrid(length=2, lo=0, hi=1)
    assert (
        len(nobody.pack_rows([("example 0", [1.0, 2.0], 3.0)], modality="signal", task=None, grid=grid)) == 1
    )
    with pytest.raises(Unavailable) as caught:
        nobody.read_pack("a.jsonl", FILES["texts.jsonl"], modality=None, task=None)
    assert caught.value.code == "no_decoder"


def test_prepared_inputs_are_those_of_the_preprocessor(plain: Decoders) -> None:
    for how in (ImagePreprocess(width=5, height=7), ImagePreprocess(width=4, height=4, dtype="float32")):
        backbone = card("image", how)
        ours = preprocessor(backbone, {})
        places = ["input 0", "input 1", "input 2"]
        first, bad, last = plain.prepare(backbone.model_dump_json(), [CAT, CAT[:40], DOG], places)
        np.testing.assert_array_equal(first, ours.prepare(CAT))
        np.testing.assert_array_equal(last, ours.prepare(DOG))
        assert isinstance(bad, InvalidInput)
        assert (bad.code, bad.param) == ("undecodable", "input 1")


# --- decoders that break ------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["SEGV", "ABRT", "FPE!", "EXIT", "HANG", "EATS", "RAIS"])
def test_a_decoder_that_breaks_costs_its_own_upload_alone(make: Any, how: str) -> None:
    decoders = make(seconds=SECONDS[how == "EATS"], memory=256 * MIB)
    bad = zipped({"cat/1.png": CAT, "dog/2.png": DOG + how.encode(), "dog/3.png": png(seed=3)})
    refused = error(decoders, bad)
    assert refused.param == "dog/2.png"
    assert refused.message.startswith("dog/2.png: ")
    if how == "EATS":
        assert (status_of(refused), refused.code) == (413, "decode_memory")
    else:
        assert (status_of(refused), refused.code) == (422, "undecodable")
    assert read(decoders, zipped({"cat/1.png": CAT})).contents == (CAT,)


def test_a_decoder_that_sleeps_is_not_waited_for(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoders_module, "SILENCE", 1.0)
    started = time.monotonic()
    refused = error(make(seconds=0.5), zipped({"cat/1.png": CAT + b"WAIT"}))
    assert (refused.code, refused.param) == ("undecodable", "cat/1.png")
    assert time.monotonic() - started < 10


def test_time_is_counted_for_each_picture_and_not_for_all(make: Any) -> None:
    """Thirty files take some ten times the limit together."""
    slow = encoded(picture(700, 500), "PNG", compress_level=1)
    started = time.process_time()
    for _ in range(5):
        read_pack("a.zip", zipped({"a/1.png": slow}), modality=None, task=None)
    each = (time.process_time() - started) / 5
    many = zipped({f"a/{i}.png": slow for i in range(30)}, zipfile.ZIP_STORED)
    assert len(read(make(seconds=3 * each), many)) == 1


def test_a_decoder_that_was_killed_says_try_again(make: Any) -> None:
    """The kernel kills for want of memory on the machine: no fault of the file's."""
    refused = error(make(), zipped({"cat/1.png": CAT + b"KILL"}))
    assert isinstance(refused, Unavailable)
    assert refused.retry_after


@pytest.mark.parametrize("how", ["SEGV", "HANG", "EATS"])
def test_an_input_that_breaks_its_decoder_costs_its_own_place_alone(make: Any, how: str) -> None:
    decoders = make(seconds=SECONDS[how == "EATS"], memory=256 * MIB)
    backbone = card("image", ImagePreprocess(width=4, height=4)).model_dump_json()
    contents = [CAT, DOG + how.encode(), DOG, CAT + how.encode(), CAT]
    found = decoders.prepare(backbone, contents, [f"input {i}" for i in range(5)])
    bad = [one for one in found if isinstance(one, DurianError)]
    assert [one.param for one in bad] == ["input 1", "input 3"]
    assert {one.code for one in bad} == {"decode_memory" if how == "EATS" else "undecodable"}
    assert all(not isinstance(found[i], DurianError) for i in (0, 2, 4))


def test_predictions_survive_a_decoder_that_breaks(make: Any) -> None:
    engine = Engine(Shelf([SHIPPED]), lanes=1, decoders=make())
    try:
        with pytest.raises(InvalidInput, match="input 1") as caught:
            engine.embed_sync("image/durian-small", [CAT, CAT + b"SEGV"])
        assert caught.value.code == "undecodable"
        assert engine.embed_sync("image/durian-small", [CAT]).shape[0] == 1
    finally:
        engine.close()


# --- children that end --------------------------------------------------------------------------


def children(nursery: Nursery) -> list[int]:
    process = nursery._process
    assert process is not None
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def test_a_child_that_was_ended_while_idle_is_replaced(make: Any, hostile: Nursery) -> None:
    decoders = make()
    read(decoders, FILES["pictures.zip"])
    (child,) = children(hostile)
    os.kill(child, signal.SIGKILL)
    time.sleep(0.05)
    read(decoders, FILES["pictures.zip"])
    assert children(hostile) != [child]
    assert len(children(hostile)) == 1  # and no zombie


def test_a_template_that_ends_is_replaced(make: Any, hostile: Nursery) -> None:
    decoders = make()
    read(decoders, FILES["pictures.zip"])
    process = hostile._process
    assert process is not None
    process.kill()
    process.wait()
    time.sleep(0.05)
    assert len(read(decoders, FILES["pictures.zip"])) == 3


def test_a_child_that_grew_makes_room_and_the_next_request_does_not_notice(
    make: Any, hostile: Nursery
) -> None:
    decoders = make()
    large = encoded(Image.new("RGB", (5000, 4900)), "PNG", compress_level=1)
    assert len(read(decoders, zipped({"a/1.png": large}, zipfile.ZIP_STORED))) == 1
    assert children(hostile) == []
    assert len(read(decoders, FILES["pictures.zip"])) == 3


def test_children_end_with_their_pool(make: Any, hostile: Nursery) -> None:
    decoders = make(2)
    threads = [threading.Thread(target=read, args=(decoders, FILES["pictures.zip"])) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1 <= len(children(hostile)) <= 2
    decoders.close()
    assert children(hostile) == []


def test_a_pool_that_is_busy_says_so(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "BUSY_SECONDS", 0.1)
    decoders = make(seconds=0.5)
    read(decoders, FILES["pictures.zip"])
    hanging = threading.Thread(target=error, args=(decoders, zipped({"a/1.png": CAT + b"HANG"})))
    hanging.start()
    time.sleep(0.1)
    refused = error(decoders, FILES["pictures.zip"])
    hanging.join()
    assert isinstance(refused, Unavailable)
    assert refused.code == "decoders_busy"


# --- bounds -------------------------------------------------------------------------------------


def bombs() -> dict[str, bytes]:
    zeros = bytes(80 * MIB)
    return {
        "one large member": zipped({"cat/1.png": CAT, "cat/2.png": CAT + zeros}),
        "many small members": zipped({f"cat/{i}.png": CAT + zeros[: 15 * MIB] for i in range(6)}),
        "an array of an npz": npz_of(zeros),
    }


def npz_of(data: bytes) -> bytes:
    header = io.BytesIO()
    npy.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (len(data) // 100, 10, 10)}
    )
    return zipped({"x.npy": header.getvalue() + data})


def test_bombs_are_refused_within_64_mib() -> None:
    """Children that may take no more than that still say what is wrong, and do not run out of memory."""
    small = Decoders(1, memory=64 * MIB)
    for name, data in bombs().items():
        assert len(data) < MIB, name
        refused = error(small, data, "a.npz" if "array" in name else "a.zip")
        assert isinstance(refused, TooLarge), name
        assert refused.code == "archive_too_large", name
    small.close()


def test_a_file_that_takes_too_much_memory_is_too_large() -> None:
    """Not a bomb by its header: a table whose every row is the same long text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts = pa.array(["x" * 90_000 + str(i) for i in range(8)]).take(pa.array(np.arange(4096) % 8))
    buffer = io.BytesIO()
    pq.write_table(pa.table({"text": texts}), buffer)
    small = Decoders(1, memory=300 * MIB)
    refused = error(small, buffer.getvalue(), "a.parquet")
    small.close()
    assert isinstance(refused, TooLarge)
    assert refused.code == "decode_memory"
