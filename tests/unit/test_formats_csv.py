import numpy as np
import pytest

from models.dataset import Pack
from models.errors import InvalidInput
from models.formats import read_pack


def read(text: str | bytes, **more: str | None) -> Pack:
    data = text.encode() if isinstance(text, str) else text
    return read_pack("train.csv", data, **{"modality": None, "task": None, **more})


def error(text: str | bytes, **more: str | None) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(text, **more)
    return caught.value


@pytest.mark.parametrize("column", ["text", "input"])
def test_texts(column):
    pack = read(f'{column},label\nhello,a\n"good, ""old"" \nbye",b\nhm,\n')
    assert pack.contents == (b"hello", b'good, "old" \nbye', b"hm")
    assert pack.labels == ("a", "b", None)


def test_a_byte_order_mark_spaces_and_windows_line_ends():
    assert read(b"\xef\xbb\xbflabel , text\r\na,hello\r\n\r\n").contents == (b"hello",)


def test_other_columns_are_ignored_with_a_warning():
    assert read("id,text,label\n1,x,a\n").warnings == ("other columns ignored: 1",)


@pytest.mark.parametrize(
    ("labels", "task"),
    [
        (["1", "2", "1"], "classification"),
        (["1.5", "2", "3"], "regression"),
        ([str(i) for i in range(21)], "regression"),
        (["1", "2", "x"], "classification"),
        (["1e3", "2.0", "-.5"], "regression"),
    ],
)
def test_the_task_of_written_labels(labels, task):
    assert read("text,label\n" + "\n".join(f"t{i},{y}" for i, y in enumerate(labels))).task == task


def test_a_stated_task_decides():
    assert read("text,label\nx,1\ny,2", task="regression").labels == (1.0, 2.0)
    assert read("text,label\nx,1.5\ny,2", task="classification").labels == ("1.5", "2")
    assert read("text,label\nx,b | a\ny,a\nz,", task="multilabel").labels == (["a", "b"], ["a"], None)


@pytest.mark.parametrize(
    ("labels", "task"), [(["1", "nan"], None), (["1.5", "inf"], None), (["1.5", "x"], "regression")]
)
def test_bad_numbers_name_the_line(labels, task):
    refused = error("text,label\n" + "\n".join(f"t{i},{y}" for i, y in enumerate(labels)), task=task)
    assert refused.code == "bad_label"
    assert refused.param == "line 3"


@pytest.mark.parametrize(
    "text",
    [
        "foo,bar\nx,a\n",
        "x,a\ny,b\n",
        "text;label\nx;a\n",
        "label\na\n",
        "text,text\nx,y\n",
        "text,input,label\nx,y,a\n",
    ],
)
def test_wrong_columns_list_what_is_expected(text):
    refused = error(text)
    assert refused.code == "wrong_columns"
    assert "text or input" in refused.message


def test_a_stated_modality_needs_its_column():
    assert error("foo,label\n1,a\n", modality="text").code == "wrong_columns"


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("text,label\nx,a\ny,b,c\n", "bad_csv", 3),
        ('text,label\n"x\ny",a\nz\n', "bad_csv", 4),
        ('text,label\nx,a\n"y,b\n', "bad_csv", 3),
        ('text,label\nx,a\n"y"z,b\n', "bad_csv", 3),
        ("text,label\n" + "x" * 200_000 + ",a\n", "bad_csv", 2),
        ("text,label\nx,a\ny\0,b\n", "nul", 3),
        (b"text,label\nx,a\n\xff,b\n", "not_utf8", 3),
        ("text,label\nx,a\n,b\n", "missing_field", 3),
        ("text,label\nx,a\n  ,b\n", "bad_text", 3),
        ("u,v,label\n1,2,a\n1,x,b\n", "bad_signal", 3),
        ("u,v,label\n1,2,a\n1,nan,b\n", "non_finite", 3),
    ],
)
def test_a_bad_line_is_named(text, code, line):
    refused = error(text)
    assert refused.code == code
    assert refused.param == f"line {line}"


def test_utf_16_says_utf_8():
    assert "UTF-8" in error("text,label\nx,a\n".encode("utf-16")).message


@pytest.mark.parametrize("text", ["text,label\n", "label,1,2\n"])
def test_a_header_alone_is_an_empty_file(text):
    assert error(text).code == "empty_file"


def test_signals_without_a_grid():
    pack = read("u,label,v,w\n1,a,2,3\n4,b,5,6\n")
    assert pack.input.modality == "signal"
    assert pack.input.grid is not None
    assert (pack.input.grid.length, pack.input.grid.lo, pack.input.grid.hi) == (3, 0, 2)
    assert np.frombuffer(pack.contents[1], "<f4").tolist() == [4, 5, 6]


def test_numeric_column_names_are_the_grid():
    rising = read("850.0,852.0,854.0,label\n1,2,3,0.5\n4,5,6,1.5\n")
    falling = read("854.0,852.0,850.0,label\n3,2,1,0.5\n6,5,4,1.5\n")
    assert rising.input.grid is not None
    assert (rising.input.grid.lo, rising.input.grid.hi) == (850, 854)
    assert rising == falling


@pytest.mark.parametrize("header", ["id,850,852", "850,852,851", "u,v,"])
def test_doubtful_signal_columns_are_refused(header):
    assert error(f"{header},label\n1,2,3,a\n").code == "wrong_columns"
