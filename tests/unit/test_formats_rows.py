"""Checks that all formats share: modality and task, labels, repeats, names of files."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.dataset import Pack
from models.errors import Conflict, DurianError, InvalidInput, InvalidRequest, TooLarge, UnsupportedMedia
from models.formats import FORMATS, Row, pack_rows, read_pack, register
from models.formats import rows as rows_module
from models.manifest import SignalGrid
from tests.media import clip, jsonl, npz, png, tone, zipped


def pack(*rows: tuple[object, object], modality: str | None = None, task: str | None = None) -> Pack:
    return pack_rows([Row(f"row {i}", *row) for i, row in enumerate(rows, 1)], modality=modality, task=task)


def error(*rows: tuple[object, object], task: str | None = None) -> DurianError:
    with pytest.raises(DurianError) as caught:
        pack(*rows, task=task)
    return caught.value


@pytest.mark.parametrize(
    ("value", "modality"),
    [
        ("plain words", "text"),
        ("QUJD", "text"),
        ([1, 2, 3], "signal"),
        ({"grid": [1, 2], "values": [3, 4]}, "signal"),
        (png(), "image"),
        (base64.b64encode(png()).decode(), "image"),
        ("data:image/png;base64," + base64.b64encode(png()).decode(), "image"),
        ("data:application/octet-stream;base64," + base64.b64encode(png()).decode(), "image"),
        (clip(tone()), "audio"),
        ("data:audio/wav;base64," + base64.b64encode(clip(tone())).decode(), "audio"),
    ],
)
def test_the_modality_is_inferred_from_the_first_row(value, modality):
    assert pack((value, "a")).input.modality == modality


@pytest.mark.parametrize("value", [5, True, None, b"what", "data:video/mp4;base64,AAAA"])
def test_inputs_of_no_known_kind_name_the_row(value):
    refused = error((value, "a"))
    assert refused.code == "bad_input"
    assert refused.param == "row 1"


def test_a_later_row_of_another_kind_names_itself():
    assert error(("words", "a"), (5, "b")).message.startswith("row 2: the input is not a string")
    assert error(([1, 2], "a"), ("words", "b")).param == "row 2"


@pytest.mark.parametrize(
    ("labels", "task", "kept"),
    [
        (["a", "b", None], "classification", ["a", "b", None]),
        ([1, 2.5, None], "regression", [1.0, 2.5, None]),
        ([["b", "a", "b"], [], None], "multilabel", [["a", "b"], [], None]),
        ([None, None], "classification", [None, None]),
    ],
)
def test_the_task_is_inferred_from_the_labels(labels, task, kept):
    result = pack(*((f"text {i}", label) for i, label in enumerate(labels)))
    assert result.task == task
    assert list(result.labels) == kept


def test_whole_numbers_are_classes_only_when_told():
    assert pack(("x", 3), ("y", 4), task="classification").labels == ("3", "4")
    doubtful = pack(("x", 3), ("y", 4))
    assert doubtful.task == "regression"
    assert "task=classification" in doubtful.warnings[0]
    assert pack(("x", 3), ("y", 4), task="regression").warnings == ()


@pytest.mark.parametrize(
    "label",
    [
        True,
        {},
        "",
        "  ",
        "a" * 257,
        "a\nb",
        "\ud800",
        "a\u2028b",
        float("nan"),
        float("inf"),
        10**400,
        [1],
        [""],
    ],
)
def test_bad_labels_name_the_row(label):
    refused = error(("x", None), ("y", label))
    assert refused.code == "bad_label"
    assert refused.message.startswith("row 2: ")


@pytest.mark.parametrize(
    ("task", "label"),
    [
        ("classification", ["a"]),
        ("classification", 1.5),
        ("classification", True),
        ("regression", "a"),
        ("regression", ["a"]),
        ("regression", True),
        ("multilabel", "a"),
        ("multilabel", 1),
        ("multilabel", [1, 0]),
    ],
)
def test_labels_against_a_stated_task_name_the_row(task, label):
    refused = error(("x", None), ("y", label), task=task)
    assert refused.code == "bad_label"
    assert refused.param == "row 2"


def test_mixed_labels_name_both_rows_and_the_remedy():
    refused = error(("x", "a"), ("y", "b"), ("z", ["a"]))
    assert refused.code == "bad_label"
    assert refused.message.startswith("row 3: ")
    assert "row 1" in refused.message
    assert "state the task" in refused.message
    assert error(("x", "a"), ("y", 1)).code == "bad_label"


def test_any_printable_label_is_kept():
    names = ("=cmd()", "<script>", "\u202eabc", "x" * 256, "👩‍🚀")
    assert pack(*((f"text {i}", name) for i, name in enumerate(names))).labels == names


def test_repeats_are_folded_with_a_warning():
    result = pack(("x", "a"), ("y", "b"), ("x", "a"))
    assert result.contents == (b"x", b"y")
    assert result.warnings == ("row 3 repeats row 1",)


def test_a_repeat_lends_its_label_to_an_unlabelled_row():
    assert pack(("x", None), ("x", "a"), ("x", None)).labels == ("a",)


def test_after_twenty_repeats_they_are_counted():
    warnings = pack(*[("x", "a")] * 31).warnings
    assert len(warnings) == 21
    assert warnings[-1] == "and 10 more repeated rows"


def test_conflicting_labels_name_both_rows():
    refused = error(("x", "a"), ("y", "b"), ("x", "b"))
    assert isinstance(refused, Conflict)
    assert refused.code == "conflicting_labels"
    assert "row 3" in refused.message
    assert "row 1" in refused.message


def test_a_file_that_contradicts_itself_is_wrong_input():
    """409 is for what contradicts something stored."""
    rows = ({"input": "x", "label": "a"}, {"input": "x", "label": "b"})
    with pytest.raises(InvalidInput) as caught:
        read_pack("a.jsonl", jsonl(*rows), modality=None, task=None)
    assert (caught.value.code, caught.value.param) == ("conflicting_labels", "line 2")


def test_multilabel_order_is_no_conflict():
    assert len(pack(("x", ["a", "b"]), ("x", ["b", "a"]))) == 1


def test_no_rows_is_an_empty_file():
    assert error().code == "empty_file"


def test_too_many_rows_are_refused(monkeypatch):
    monkeypatch.setattr(rows_module, "MAX_ROWS", 2)
    with pytest.raises(TooLarge):
        pack(("x", "a"), ("y", "a"), ("z", "a"))


def test_signals_go_onto_a_given_grid():
    rows = [Row("row 1", {"grid": [0, 4], "values": [0, 4]}, 1.5)]
    grid = SignalGrid(length=3, lo=1, hi=3)
    assert pack_rows(rows, modality=None, task=None, grid=grid).input.grid == grid


def test_packs_are_deterministic():
    data = jsonl(*({"input": f"text {i}", "label": i % 3 * 0.5} for i in range(9)))
    first, second = (read_pack("a.jsonl", data, modality=None, task=None) for _ in range(2))
    assert first.to_bytes() == second.to_bytes()
    assert Pack.from_bytes(first.to_bytes()) == first


_LABELS = st.one_of(
    st.none(),
    st.text(max_size=9),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.lists(st.text(max_size=5), max_size=3),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=1),
)


_RUNS = given(
    st.lists(_LABELS, min_size=1, max_size=5), st.sampled_from([None, "classification", "regression"])
)


@_RUNS
def test_labels_come_back_or_are_refused_by_row(labels, task):
    """Through JSON and back: whatever is accepted means the same, whatever is not is named."""
    check_labels(labels, task)


@pytest.mark.nightly
@settings(max_examples=2_000, deadline=None)
@_RUNS
def test_two_thousand_sets_of_labels_come_back_or_are_refused_by_row(labels, task):
    check_labels(labels, task)


def check_labels(labels, task):
    lines = (json.dumps({"input": f"text {i}", "label": label}) for i, label in enumerate(labels))
    try:
        result = read_pack("a.jsonl", "\n".join(lines).encode(), modality=None, task=task)
    except InvalidInput as refused:
        refusal = refused
    else:
        same = {"classification": str, "regression": float, "multilabel": lambda label: sorted(set(label))}
        expected = [None if label is None else same[result.task](label) for label in labels]
        assert list(result.labels) == expected
        return
    assert refusal.code == "bad_label"
    assert refusal.param.startswith("line ")


@pytest.mark.parametrize("entry", list(FORMATS.values()), ids=lambda entry: entry.name)
def test_a_file_name_ending_is_taken_once(entry):
    with pytest.raises(ValueError, match="twice"):
        register(entry)


@pytest.mark.parametrize("name", [f"a{ending}" for ending in FORMATS] + ["", "a"])
@pytest.mark.parametrize("data", [b"", b" \n\n"])
def test_an_empty_file_says_so(name, data):
    with pytest.raises(InvalidInput, match="empty") as caught:
        read_pack(name, data, modality=None, task=None)
    assert caught.value.code == "empty_file"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.csv", jsonl({"input": "x", "label": "a"})),
        ("a.jsonl", zipped({"cat/1.png": png()})),
        ("a.zip", b"text,label\n"),
        ("a.npz", zipped({"cat/1.png": png()})),
        ("a.zip", npz(x=[[1.0, 2.0]])),
        ("a.parquet", b"text,label\n"),
    ],
)
def test_a_name_that_contradicts_the_content(name, data):
    with pytest.raises(InvalidInput) as caught:
        read_pack(name, data, modality=None, task=None)
    assert caught.value.code == "wrong_format"


def test_a_file_without_an_ending_is_known_by_its_content():
    assert len(read_pack("upload", jsonl({"input": "x", "label": "a"}), modality=None, task=None)) == 1
    assert len(read_pack("upload", npz(x=[[1.0, 2.0]]), modality=None, task=None)) == 1


@pytest.mark.parametrize("name", ["a.tar", "a.pkl", "a.xlsx", "../../etc/passwd", "\0"])
def test_other_files_are_unsupported(name):
    with pytest.raises(UnsupportedMedia, match=r"\.jsonl") as caught:
        read_pack(name, b"\x80\x04anything", modality=None, task=None)
    assert "passwd" not in caught.value.message


@pytest.mark.parametrize(
    ("modality", "task", "param"), [("video", None, "modality"), (None, "ranking", "task")]
)
def test_unknown_modalities_and_tasks(modality, task, param):
    with pytest.raises(InvalidRequest) as caught:
        read_pack("a.jsonl", b"{}", modality=modality, task=task)
    assert caught.value.param == param
