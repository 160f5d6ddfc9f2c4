import numpy as np
import pytest
from tokenizers import Tokenizer, models

from app.engine.trunks import prepare_together
from models.backbone import TextPreprocess
from models.errors import CorruptArtefact, InvalidInput, TooLarge
from models.manifest import InputSpec
from models.modalities import modality, preprocessor
from models.modalities.base import ManyAtOnce
from tests.media import card, tokenizer_json

SPEC = InputSpec(modality="text")


def canonical(value: object) -> bytes:
    return modality("text").canonical(value, SPEC, "row 3")


def processor(max_tokens: int = 128):
    text = card("text", TextPreprocess(max_tokens=max_tokens), "input_ids")
    return preprocessor(text, {"tokenizer.json": tokenizer_json()})


def test_canonical_is_the_exact_string():
    assert canonical("  Žluťoučký\ncafe\u0301 ") == "  Žluťoučký\ncafe\u0301 ".encode()
    assert canonical(b"abc") == canonical("abc")


@pytest.mark.parametrize("value", ["", " \n\t", "a\0b", "\ud800", b"\xff", None, 3, True, ["a"], {"a": 1}])
def test_bad_texts_name_the_row(value):
    with pytest.raises(InvalidInput, match=r"^row 3: ") as caught:
        canonical(value)
    assert caught.value.code == "bad_text"
    assert caught.value.param == "row 3"


def test_a_text_may_have_100_kb_and_no_more():
    assert len(canonical("é" * 50_000)) == 100_000
    with pytest.raises(TooLarge, match="100 KB"):
        canonical("é" * 50_000 + "e")


def test_prepare_gives_token_ids():
    ids = processor().prepare(b"where is my horse")
    assert ids.dtype == np.int64
    assert ids.tolist() == [2, 4, 5, 6, 1, 3]
    assert processor().size(ids) == 6


def test_truncation_keeps_the_special_tokens():
    assert processor(4).prepare(b"where is my parcel").tolist() == [2, 4, 5, 3]


def test_collate_pads_to_the_longest():
    prepare = processor().prepare
    feeds = processor().collate([prepare(b"parcel"), prepare(b"where is")])
    assert feeds["input_ids"].tolist() == [[2, 7, 3, 0], [2, 4, 5, 3]]
    assert feeds["attention_mask"].tolist() == [[1, 1, 1, 0], [1, 1, 1, 1]]
    assert {feed.dtype for feed in feeds.values()} == {np.dtype(np.int64)}


@pytest.mark.parametrize("files", [{}, {"tokenizer.json": b"{}"}, {"tokenizer.json": b"\xff"}])
def test_a_backbone_without_a_tokenizer_is_corrupt(files):
    with pytest.raises(CorruptArtefact, match="tokenizer"):
        preprocessor(card("text", TextPreprocess()), files)


def wordless(max_tokens: int = 128):
    """A preprocessor whose tokenizer knows two letters, and drops all others."""
    words = Tokenizer(models.BPE({"a": 0, "b": 1}, []))
    text = card("text", TextPreprocess(max_tokens=max_tokens), "input_ids")
    return preprocessor(text, {"tokenizer.json": words.to_str().encode()})


def test_many_at_once_are_prepared_as_one_by_one():
    how, contents = processor(5), [b"where is my horse", b"parcel", "où est".encode()]
    assert isinstance(how, ManyAtOnce)
    together = how.prepare_many(contents, ["a", "b", "c"])
    for got, content in zip(together, contents, strict=True):
        np.testing.assert_array_equal(got, how.prepare(content))
        assert got.dtype == np.int64


def test_of_many_at_once_the_wrong_one_is_named():
    good, wrong = wordless().prepare_many([b"ab", b"xyz"], ["row 1", "row 2"])
    assert good.tolist() == [0, 1]
    assert isinstance(wrong, InvalidInput)
    assert wrong.param == "row 2"
    with pytest.raises(InvalidInput, match=r"^row 2: "):
        wordless().prepare(b"xyz", "row 2")


def test_what_cannot_be_prepared_together_is_prepared_one_by_one():
    found = prepare_together(wordless(), [b"ab", b"\xff"], ["row 1", "row 2"])
    assert found[0].tolist() == [0, 1]
    assert isinstance(found[1], InvalidInput)
    assert found[1].param == "row 2"
