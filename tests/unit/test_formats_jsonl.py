import json

import pytest

from models.dataset import Pack
from models.errors import InvalidInput
from models.formats import read_pack
from tests.media import jsonl, png_header


def read(data: bytes | str, **more: str | None) -> Pack:
    data = data.encode() if isinstance(data, str) else data
    return read_pack("train.jsonl", data, **{"modality": None, "task": None, **more})


def error(data: bytes | str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        read(data)
    return caught.value


def test_texts_with_labels_and_without():
    pack = read(jsonl({"input": "x", "label": "a"}, {"input": "y"}, {"input": "z", "label": None}))
    assert pack.contents == (b"x", b"y", b"z")
    assert pack.labels == ("a", None, None)
    assert pack.unlabelled == 2


def test_blank_lines_marks_and_windows_line_ends():
    pack = read(b'\xef\xbb\xbf{"input": "x", "label": "a"}\r\n\r\n{"input": "y", "label": "b"}\r\n')
    assert pack.contents == (b"x", b"y")


def test_line_separators_inside_strings_do_not_split_a_line():
    assert read('{"input": "a\u2028b\x85c", "label": "a"}').contents == ("a\u2028b\x85c".encode(),)


def test_other_fields_are_ignored_with_a_warning():
    assert read(jsonl({"input": "x", "label": "a", "id": 1, "split": 2})).warnings == (
        "other fields ignored: 2",
    )


GOOD = '{"input": "x", "label": "a"}\n'


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ('{"inputs": "y", "label": "a"}', "missing_field"),
        ('{"input": null, "label": "a"}', "missing_field"),
        ('["y", "a"]', "bad_row"),
        ('"y"', "bad_row"),
        ('{"input": "y", "label": "a"', "bad_json"),
        ("{'input': 'y'}", "bad_json"),
        ('{"input": ' + "[" * 100_000, "bad_json"),
        ('{"input": 5, "label": "a"}', "bad_text"),
        ('{"input": "", "label": "a"}', "bad_text"),
        (r'{"input": "\ud800", "label": "a"}', "bad_text"),
        (r'{"input": "a\u0000", "label": "a"}', "bad_text"),
        ('{"input": "y", "label": true}', "bad_label"),
        ('{"input": "y", "label": NaN}', "bad_label"),
        ('{"input": "y", "label": ["a"]}', "bad_label"),
    ],
)
def test_a_bad_line_is_named(line, code):
    refused = error(GOOD + line)
    assert refused.code == code
    assert refused.param == "line 2"
    assert refused.message.startswith("line 2: ")


def test_nan_among_numbers_is_told_as_nan():
    assert error('{"input": "x", "label": 1.5}\n{"input": "y", "label": NaN}').code == "bad_label"
    assert error('{"input": [1, 2, NaN], "label": "a"}').code == "non_finite"
    assert error('{"input": [1, 2, 1e999], "label": "a"}').code == "non_finite"


def test_other_encodings_name_the_line():
    refused = error(GOOD.encode() + '{"input": "é"}'.encode("latin-1"))
    assert refused.code == "not_utf8"
    assert refused.param == "line 2"


def test_signals_with_grids():
    rows = [{"input": {"grid": [0, 1, 2], "values": [0, k, 2 * k]}, "label": k / 2} for k in (1, 2)]
    pack = read(jsonl(*rows))
    assert pack.task == "regression"
    assert pack.input.grid is not None
    assert pack.input.grid.length == 3


def test_a_signal_of_another_length_without_a_grid():
    refused = error(jsonl({"input": [1, 2, 3], "label": 1}, {"input": [1, 2], "label": 2}))
    assert refused.code == "signal_length"
    assert refused.param == "line 2"
    assert "grid" in refused.message


def test_a_30_megapixel_image_names_its_line():
    import base64

    url = "data:image/png;base64," + base64.b64encode(png_header(6000, 5000)).decode()
    with pytest.raises(InvalidInput, match="line 1: the image has 30 megapixels"):
        read(json.dumps({"input": url, "label": "a"}))


def test_messages_never_echo_the_input():
    for line in (
        '{"input": "SECRET\\u0000"}',
        '{"input": "x", "label": "SECRET\\n"}',
        '{"SECRET": 1}',
        "SECRET",
    ):
        assert "SECRET" not in error(GOOD + line).message
