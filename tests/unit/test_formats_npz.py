import io
import struct
import zipfile

import numpy as np
import pytest
from numpy.lib import format as npy

from models.dataset import Pack
from models.errors import DurianError, TooLarge
from models.formats import read_pack
from models.modalities.image import decode
from tests.media import npz, zipped

SIGNALS = np.arange(12, dtype=np.float64).reshape(3, 4)


def read(data: bytes, **more: str | None) -> Pack:
    return read_pack("train.npz", data, **{"modality": None, "task": None, **more})


def error(data: bytes, **more: str | None) -> DurianError:
    with pytest.raises(DurianError) as caught:
        read(data, **more)
    return caught.value


def values(pack: Pack) -> list[list[float]]:
    return [np.frombuffer(content, "<f4").tolist() for content in pack.contents]


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", ">f8", "<i2", ">i4", "<i8", "u1"])
def test_signals_of_every_listed_type(dtype):
    pack = read(npz(x=SIGNALS.astype(dtype), y=np.array(["a", "b", "a"])))
    assert values(pack) == SIGNALS.tolist()
    assert pack.labels == ("a", "b", "a")


@pytest.mark.parametrize("shape", [(3, 1, 4), (3, 4, 1)])
def test_one_channel_may_have_its_own_axis(shape):
    assert values(read(npz(x=SIGNALS.reshape(shape)))) == SIGNALS.tolist()


def test_column_major_arrays():
    assert values(read(npz(x=np.asfortranarray(SIGNALS)))) == SIGNALS.tolist()


def test_numbers_are_regression_unless_told():
    assert read(npz(x=SIGNALS, y=np.array([0.5, 1.5, 2.5]))).labels == (0.5, 1.5, 2.5)
    assert read(npz(x=SIGNALS, y=np.array([0, 1, 0]))).task == "regression"
    assert read(npz(x=SIGNALS, y=np.array([0, 1, 0])), task="classification").labels == ("0", "1", "0")


def test_unlabelled_rows_and_a_shared_grid():
    pack = read(
        npz(x=SIGNALS, y=np.array(["a", "b", "c"]), unlabelled=SIGNALS + 1, grid=np.arange(4) * 2.0, z=1)
    )
    assert pack.labels == ("a", "b", "c", None, None, None)
    assert pack.input.grid is not None
    assert (pack.input.grid.lo, pack.input.grid.hi, pack.input.grid.length) == (0, 6, 4)
    assert pack.warnings == ("other arrays ignored: 1",)


@pytest.mark.parametrize("shape", [(2, 5, 6), (2, 5, 6, 1), (2, 5, 6, 3), (2, 5, 6, 4)])
def test_bytes_of_pixels_are_images(shape):
    pixels = np.full(shape, 255, np.uint8)
    pixels[1] //= 2
    pack = read(npz(x=pixels, y=np.array(["a", "b"])))
    assert pack.input.modality == "image"
    assert decode(pack.contents[0], "input").size == (6, 5)


@pytest.mark.parametrize(
    ("data", "code", "param"),
    [
        (npz(z=SIGNALS), "missing_field", "x"),
        (npz(x=SIGNALS * 1j), "dtype", "x"),
        (npz(x=np.array([[{}]], object)), "dtype", "x"),
        (npz(x=np.array([["a", "b"]])), "dtype", "x"),
        (npz(x=SIGNALS > 2), "dtype", "x"),
        (npz(x=1.0), "npz_shape", "x"),
        (npz(x=np.zeros(4)), "npz_shape", "x"),
        (npz(x=np.zeros((2, 3, 4))), "npz_shape", "x"),
        (npz(x=np.zeros((2, 3, 4, 3))), "npz_shape", "x"),
        (npz(x=SIGNALS, y=np.zeros(2)), "bad_label", "y"),
        (npz(x=SIGNALS, y=np.zeros((3, 2))), "bad_label", "y"),
        (npz(x=SIGNALS, y=np.array([True, False, True])), "bad_label", "row 1"),
        (npz(x=SIGNALS, y=np.array([1, np.nan, 2])), "bad_label", "row 2"),
        (npz(x=SIGNALS, y=np.array(["a", "", "b"])), "bad_label", "row 2"),
        (npz(x=SIGNALS, y=np.array([1, {}, 2], object)), "dtype", "y"),
        (npz(x=np.where(SIGNALS == 5, np.nan, SIGNALS)), "non_finite", "row 2"),
        (npz(x=SIGNALS, unlabelled=SIGNALS[:, :3]), "signal_length", "unlabelled row 1"),
        (npz(x=SIGNALS, grid=np.zeros(4)), "bad_signal", "row 1"),
        (npz(x=np.zeros((0, 4))), "empty_file", "file"),
        (zipped({"x.npy": b"no array"}), "undecodable", "file"),
        (npz(x=SIGNALS)[:-30], "undecodable", "file"),
    ],
)
def test_bad_arrays_are_named(data, code, param):
    refused = error(data)
    assert (refused.code, refused.param) == (code, param)


def test_a_header_of_eight_tebibytes_is_refused_unread():
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2**20, 2**20)})
    refused = error(zipped({"x.npy": header.getvalue() + bytes(64)}))
    assert isinstance(refused, TooLarge)
    assert (refused.code, refused.param) == ("archive_too_large", "x")


def test_a_header_that_promises_more_than_there_is():
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2, 9)})
    assert error(zipped({"x.npy": header.getvalue() + bytes(64)})).code == "undecodable"


def test_a_bomb_is_refused_uninflated():
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (2, 2**20)})
    refused = error(zipped({"x.npy": header.getvalue() + bytes(2**24)}))
    assert isinstance(refused, TooLarge)
    assert refused.code == "archive_too_large"


def test_strings_beyond_unicode_are_refused():
    bad = np.frombuffer(struct.pack("<3I", 97, 0x7FFFFFFF, 98), "<U1")
    assert error(npz(x=SIGNALS, y=bad)).code == "bad_label"


def test_pickles_are_never_read():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.npy", b"\x80\x04cposix\nsystem\n.")
    assert error(buffer.getvalue()).code == "undecodable"
